from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.errors import FedriskError, ModelFileError
from fedrisk.home import Home
from fedrisk.models.checks import make_checks
from fedrisk.registry.cache import (
    CHECKS,
    HASHES,
    MODEL,
    REFERENCE,
    StoredModel,
    clear_model,
    generation,
    read_model,
    write_model,
)
from fedrisk.serving.app import create_app
from fedrisk.serving.champion import Champion
from fedrisk.serving.process import start_server
from fedrisk.serving.scoring import Scorer

from .conftest import ROW, TestClient, fit, store, until

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


def champion(home: Home) -> Champion:
    return Champion(home.champion, clock=lambda: NOON)


def damage(home: Home) -> None:
    """Let the cache point to a generation whose model does not match its hash, in one step."""
    place = generation(home.champion)
    assert place is not None
    broken = place.with_name(f"{place.name}9")
    shutil.copytree(place, broken)
    text = (broken / MODEL).read_text()
    (broken / MODEL).write_text(text.replace('"intercept": ', '"intercept": 1'))
    link = place.with_name("link")
    link.symlink_to(broken.name)
    link.replace(home.champion)


def test_nothing_serves_before_there_is_a_model(home: Home) -> None:
    slot = champion(home)
    with pytest.raises(ModelFileError, match="not read yet"):
        slot.require()
    assert not slot.refresh()
    with pytest.raises(ModelFileError, match="no model in"):
        slot.require()


def test_a_model_is_loaded_once(home: Home, stored: StoredModel) -> None:
    slot = champion(home)
    assert slot.refresh()
    served = slot.require()
    assert (served.stored.digest, served.loaded_at) == (stored.digest, NOON)
    assert not slot.refresh()
    assert slot.served is served


def test_a_new_champion_takes_over(home: Home, stored: StoredModel) -> None:
    slot = champion(home)
    slot.refresh()
    old = slot.require().scorer.risk(ROW)
    store(home, "2", seed=2)
    assert slot.refresh()
    assert slot.require().identity == {"name": "clinic", "version": "2"}
    assert slot.require().scorer.risk(ROW) != old


def test_a_broken_champion_is_refused_and_the_old_one_stays(home, stored) -> None:
    news: list[object] = []
    slot = Champion(home.champion, clock=lambda: NOON, listener=news.append)
    slot.refresh()
    damage(home)
    assert not slot.refresh()
    assert not slot.refresh()
    assert slot.require().identity["version"] == "1"
    assert slot.refused is not None
    assert slot.refused["at"] == "2024-02-29T12:00:00+00:00"
    assert [isinstance(item, FedriskError) for item in news] == [False, True]
    store(home, "4", seed=4)
    assert slot.refresh()
    assert slot.refused is None


def test_a_cleared_cache_does_not_stop_the_model(home: Home, stored: StoredModel) -> None:
    slot = champion(home)
    slot.refresh()
    clear_model(home.champion)
    assert not slot.refresh()
    assert slot.require().identity["version"] == "1"
    assert "no model" in slot.reason


def test_a_scorer_that_differs_from_the_model_is_refused(home, stored, monkeypatch) -> None:
    monkeypatch.setattr("fedrisk.serving.scoring.sigmoid", lambda logit: 0.5)
    slot = champion(home)
    assert not slot.refresh()
    assert "self-test" in slot.reason
    assert read_model(home.champion).version == "1"


def test_the_watch_takes_up_a_new_model(home: Home, stored: StoredModel) -> None:
    async def scenario() -> None:
        slot = champion(home)
        slot.refresh()
        watching = asyncio.create_task(slot.watch(0.01))
        store(home, "2", seed=2)
        while slot.require().identity["version"] != "2":
            await asyncio.sleep(0.01)
        damage(home)
        while slot.refused is None:
            await asyncio.sleep(0.01)
        watching.cancel()
        assert slot.require().identity["version"] == "2"

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_the_api_reports_a_refused_model_and_goes_on(home: Home, stored: StoredModel) -> None:
    with TestClient(create_app(home, watch_seconds=0.01)) as client:
        damage(home)
        until(lambda: client.get("/ready").json()["refused"] is not None)
        answer = client.get("/ready")
        assert answer.status_code == 200
        assert answer.json()["model"]["version"] == "1"
        assert client.post("/predict", json=ROW).json()["model"]["version"] == "1"
        assert 'model_loads_total{result="refused"} 1.0' in client.get("/metrics").text
        json.dumps(answer.json())


def flip(content: bytes) -> bytes:
    """One bit is another in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE = {
    "flipped": flip,
    "truncated": lambda content: content[: len(content) // 2],
    "half written": lambda content: content[: len(content) // 2] + bytes(len(content) // 2),
    "emptied": lambda _: b"",
}


@pytest.mark.parametrize("file", [MODEL, REFERENCE, CHECKS, HASHES])
@pytest.mark.parametrize("how", DAMAGE)
def test_files_damaged_in_their_place_are_told_and_the_model_in_memory_goes_on(
    home: Home, stored: StoredModel, file: str, how: str
) -> None:
    place = home.champion / file
    whole = place.read_bytes()
    with TestClient(create_app(home, watch_seconds=0.01)) as client:
        before = client.post("/predict", json=ROW).json()["risk_score"]
        place.write_bytes(DAMAGE[how](whole))
        until(lambda: client.get("/ready").json()["refused"] is not None)
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["model"]["version"]) == (200, "1")
        assert client.post("/predict", json=ROW).json()["risk_score"] == before
        assert figure(client, 'model_loads_total{result="refused"}') >= 1
        place.write_bytes(whole)
        until(lambda: client.get("/ready").json()["refused"] is None)
        assert client.post("/predict", json=ROW).json()["risk_score"] == before


def figure(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


SWAPS = 40  # `make swaps` does a thousand


class Caller(threading.Thread):
    """Asks over one connection until it is told to stop; notes every answer that is not right."""

    def __init__(self, url: str, risks: dict[str, list[float]], rows: list[dict]) -> None:
        super().__init__()
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        self.risks = risks
        self.rows = rows
        self.stop = threading.Event()
        self.by_version: Counter[str] = Counter()
        self.wrong: list[object] = []

    def run(self) -> None:
        try:
            number = 0
            while not self.stop.is_set():
                number = (number + 1) % len(self.rows)
                self.ask(number)
        except (OSError, http.client.HTTPException) as error:
            self.wrong.append(error)
        finally:
            self.connection.close()

    def ask(self, number: int) -> None:
        self.connection.request("POST", "/predict", json.dumps(self.rows[number]).encode())
        answer = self.connection.getresponse()
        told = json.load(answer)
        if answer.status == 503 and "behind" in told["error"]:
            return  # a loaded machine makes the server late
        if answer.status != 200:
            self.wrong.append(told)
            return
        version = told["model"]["version"]
        self.by_version[version] += 1
        if told["risk_score"] != self.risks[version][number]:
            self.wrong.append((version, number, told["risk_score"]))


def test_swaps_under_load_fail_no_request_and_every_answer_is_of_the_model_it_names(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDRISK_CACHE_SECONDS", "0.01")
    fitted = {version: fit(seed=int(version)) for version in ("1", "2")}
    checks = {version: make_checks(model) for version, (model, _) in fitted.items()}
    rows = [check["row"] for made in checks.values() for check in made]
    risks = {v: [Scorer(model).risk(row) for row in rows] for v, (model, _) in fitted.items()}

    def put(version: str) -> None:
        model, bins = fitted[version]
        identity = {"name": "clinic", "version": version, "run_id": f"run{version}"}
        write_model(home.champion, model.document(), bins, checks[version], **identity)

    put("1")
    assert all(a != b for a, b in zip(risks["1"], risks["2"], strict=True))
    server = start_server(home, "127.0.0.1", 0, tmp_path / "log")
    callers = [Caller(server.url, risks, rows) for _ in range(4)]
    try:
        server.wait_ready(60)
        for caller in callers:
            caller.start()
        for number in range(1, SWAPS + 1):
            version = str(number % 2 + 1)
            put(version)
            until(lambda v=version: server.wait_ready()["model"]["version"] == v, 60)
        damage(home)
        until(lambda: server.wait_ready()["refused"] is not None, 60)
    finally:
        for caller in callers:
            caller.stop.set()
        for caller in callers:
            caller.join(60)
        server.stop()
    assert [wrong for caller in callers for wrong in caller.wrong] == []
    assert set(sum((caller.by_version for caller in callers), Counter())) == {"1", "2"}
