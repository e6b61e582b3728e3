"""A sample is sealed, bounded, deleted in time; nothing of it slows or fails a prediction."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from small_disk import mounted

from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel
from fedrisk.sealing import read_private, read_public
from fedrisk.serving.app import create_app
from fedrisk.serving.recording import Recorder, RecordRules
from fedrisk.serving.recording.files import DayFile, days, erase_before
from fedrisk.serving.recording.reading import Rows
from fedrisk.serving.recording.recorder import sampled
from tests.serving.conftest import ROW, TestClient, fit
from tests.serving.conftest import home as home
from tests.serving.conftest import stored as stored

from .conftest import START, Clock, public

MODEL, BINS = fit()
ALL = RecordRules(1.0, 30)
STORED = StoredModel("clinic", "1", "run1", MODEL, BINS, [], "digest")


def recorder(
    folder: Path, private: Path, clock: Clock, rules: RecordRules = ALL
) -> tuple[Recorder, CollectorRegistry]:
    made = Recorder(DayFile(folder, "replica:1", read_public(public(private))), rules, clock)
    registry = CollectorRegistry()
    made.count_in(registry)
    return made, registry


def rows(folder: Path, private: Path) -> list[dict]:
    return [json.loads(line) for line in Rows(folder, read_private(private), date.min, date.max)]


def counted(registry: CollectorRegistry, result: str) -> float | None:
    return registry.get_sample_value("record_rows_total", {"result": result})


def note(made: Recorder, identifier: str, times: int = 1) -> None:
    made.note(STORED, "/predict", identifier, [ROW] * times, [0.25] * times)


def test_what_was_scored_is_read_by_the_private_key(home, stored, private, clock) -> None:
    made, _ = recorder(home.records, private, clock)
    lines = "\n".join(json.dumps({**ROW, "age": age}) for age in (40, 50))
    with TestClient(create_app(home, recorder=made, watch_seconds=3600)) as client:
        one = client.post("/predict", json=ROW, headers={"X-Request-ID": "first"}).json()
        kind = {"Content-Type": "application/x-ndjson", "X-Request-ID": "second"}
        two = client.post("/predict/batch", content=lines, headers=kind).text.splitlines()
        assert 'record_rows_total{result="dropped"} 0.0' in client.get("/metrics").text
        client.post("/predict", json={"age": 1000})
        client.post("/v2/models/clinic/infer", json={"inputs": []})
    found = rows(home.records, private)
    assert [(each["request_id"], each["row"]) for each in found] == [
        ("first", 1),
        ("second", 1),
        ("second", 2),
    ]
    assert found[0]["features"] == ROW
    assert found[0]["risk_score"] == one["risk_score"]
    assert found[0] | {"features": {}, "risk_score": 0} == {
        "at": "2026-03-01T23:59:00.000+00:00",
        "request_id": "first",
        "row": 1,
        "endpoint": "/predict",
        "model": "clinic",
        "version": "1",
        "features": {},
        "risk_score": 0,
    }
    assert [each["risk_score"] for each in found[1:]] == [
        json.loads(line)["risk_score"] for line in two
    ]
    content = b"".join(file.read_bytes() for file in home.records.rglob("*.sealed"))
    for text in (b"first", b"marker", b"71.5"):
        assert text not in content
    for place in [home.records, *home.records.rglob("*")]:
        assert place.stat().st_mode & 0o077 == 0


def test_the_sample_follows_from_the_request_id_and_is_as_large_as_asked() -> None:
    names = [f"request-{number}" for number in range(20_000)]
    chosen = {name for name in names if sampled(name, 0.1)}
    assert abs(len(chosen) - 2000) < 6 * (20_000 * 0.1 * 0.9) ** 0.5
    assert chosen <= {name for name in names if sampled(name, 0.2)}
    from fedrisk.serving.challenger import in_share

    canaries = {name for name in names if in_share(name.encode(), 0.1)}
    assert len(chosen & canaries) < 400  # independent of the canary: about 200 of 2,000


def test_what_does_not_fit_is_dropped_and_counted(tmp_path, private, clock) -> None:
    made, registry = recorder(tmp_path / "r", private, clock, RecordRules(1.0, 30, most_rows=5))
    note(made, "a", 3)
    note(made, "b", 3)
    note(made, "c", 2)
    assert counted(registry, "dropped") == 3
    made.flush()
    assert counted(registry, "written") == 5
    note(made, "d", 5)
    made.stop()
    assert [each["request_id"] for each in rows(tmp_path / "r", private)] == [*"aaacc", *"ddddd"]


def test_each_day_has_a_file_that_is_closed_when_it_is_over(tmp_path, private, clock) -> None:
    folder = tmp_path / "r"
    made, _ = recorder(folder, private, clock)
    note(made, "a")
    clock.time += timedelta(minutes=2)
    note(made, "b")
    made.flush()
    read = Rows(folder, read_private(private), date.min, date.max)
    assert len(list(read)) == 2
    assert read.unfinished == ["2026-03-02/replica_1.0.sealed"]
    assert list(days(folder)) == [date(2026, 3, 1), date(2026, 3, 2)]
    clock.time += timedelta(days=1)
    made.keep()
    list(read)
    assert read.unfinished == []


def test_days_are_deleted_at_the_start_and_then_every_hour(tmp_path, private, clock) -> None:
    folder = tmp_path / "r"
    for age in range(5):
        (folder / (START.date() - timedelta(days=age)).isoformat()).mkdir(parents=True)
    (folder / "notes").mkdir()
    made, _ = recorder(folder, private, clock, RecordRules(0.0, 3))
    made.keep()
    assert [day.day for day in days(folder)] == [27, 28, 1]
    clock.time += timedelta(minutes=59)
    made.keep()
    assert len(days(folder)) == 3
    clock.time += timedelta(minutes=1)
    made.keep()
    assert [day.day for day in days(folder)] == [28, 1]
    assert (folder / "notes").exists()
    assert erase_before(folder, date(2026, 3, 1)) == [date(2026, 2, 28)]
    assert erase_before(tmp_path / "missing", date.max) == []


def test_after_an_erasure_rows_are_written_to_a_new_file(tmp_path, private, clock) -> None:
    folder = tmp_path / "r"
    made, _ = recorder(folder, private, clock)
    note(made, "a")
    made.flush()
    erase_before(folder, date.max)
    note(made, "b")
    made.stop()
    assert [each["request_id"] for each in rows(folder, private)] == ["b"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    with mounted(tmp_path / "disk", "256k") as place:
        yield place


def test_on_a_full_disk_rows_wait_and_the_file_stays_whole(
    small_disk: Path, private, clock, caplog
) -> None:
    made, registry = recorder(small_disk / "r", private, clock)
    note(made, "before")
    made.flush()
    filler = small_disk / "filler"
    filler.write_bytes(bytes(200 << 10))
    note(made, "large", 1000)
    made.flush()
    made.flush()
    assert counted(registry, "written") == 1
    assert caplog.text.count("No space left on device") == 1
    filler.unlink()
    made.flush()
    made.stop()
    read = Rows(small_disk / "r", read_private(private), date.min, date.max)
    assert len(list(read)) == 1001
    assert read.unfinished == []


def test_what_cannot_be_written_at_the_end_is_told(tmp_path, private, clock, caplog) -> None:
    (tmp_path / "r").write_text("in the way")
    made, registry = recorder(tmp_path / "r", private, clock)
    note(made, "a", 3)
    made.stop()
    assert counted(registry, "dropped") == 3
    assert "3 rows are lost" in caplog.text


def test_without_a_record_its_cryptography_is_not_loaded(home: Home) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from fedrisk.home import Home\nfrom fedrisk.serving.app import create_app\n"
        f"create_app(Home(Path({str(home.root)!r})))\n"
        "assert 'fedrisk.sealing' not in sys.modules\n"
        "assert 'cryptography' not in sys.modules, 'cryptography'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
