"""A run killed in any phase goes on as if nothing had been; of two processes the newer counts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.supercore.run import RunNotRunningException

from fedrisk.cli.server_app import execute
from fedrisk.errors import FederationError
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.progress import Progress
from fedrisk.home import Home
from fedrisk.registry.store import open_store
from fedrisk.registry.versions import list_versions
from fedrisk.settings import Settings
from fedrisk.study import parse_study
from fedrisk.study.training import RoundRecord, TrainingRequest, TrainingResult

STUDY = parse_study(
    {
        "name": "small",
        "label": "died",
        "positive": [1],
        "features": [{"name": "age", "kind": "number", "minimum": 0, "maximum": 120}],
    }
)


class Killed(BaseException):
    """Stands for a signal: nothing catches it on purpose."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home") / "home").prepare()


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, found = tmp_path_factory.mktemp("rows"), {}
    for seed, name in enumerate(("north", "south")):
        random = np.random.default_rng(seed)
        found[name] = folder / f"{name}.csv"
        with found[name].open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["age", "died"])
            for age in random.uniform(20, 95, 200):
                writer.writerow([f"{age:.2f}", int(random.random() < age / 120)])
    return found


@pytest.fixture
def run(home: Home, sites: dict[str, Path]) -> Callable[..., Progress]:
    settings = Settings(home=home.root)

    def run(run_id: str, watch: Callable[[RoundRecord], None] = lambda _: None) -> Progress:
        request = TrainingRequest(
            run_id=run_id, study=STUDY, sites=("north", "south"), as_of="2026-01-01", deadline=5.0
        )
        execute(InMemoryGrid(sites), request, settings, watch)
        return Progress(home.run(run_id))

    return run


def numbers(progress: Progress) -> dict[str, Any]:
    """What a run brought, to the last bit, without when and how long."""
    text = (progress.folder / "result.json").read_text(encoding="utf-8")
    result = TrainingResult.model_validate_json(text)
    model = {key: value for key, value in result.model.items() if key != "about"}
    return {"model": model, "metrics": result.metrics, "checks": result.checks, "rows": result.rows}


@pytest.fixture(scope="module")
def undisturbed(home: Home, sites: dict[str, Path]) -> dict[str, Any]:
    request = TrainingRequest(
        run_id="whole", study=STUDY, sites=("north", "south"), as_of="2026-01-01", deadline=5.0
    )
    execute(InMemoryGrid(sites), request, Settings(home=home.root))
    progress = Progress(home.run("whole"))
    return numbers(progress) | {"rounds": len(list(progress.news()))}


def kill(*_: object) -> None:
    raise Killed


def kill_at(number: int) -> Callable[[RoundRecord], None]:
    def watch(record: RoundRecord) -> None:
        if record.number == number:
            raise Killed

    return watch


def test_killed_in_every_phase_and_taken_up(
    run: Callable[..., Progress], undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    last = undisturbed["rounds"]
    assert last > 4
    for number in (1, 2, last - 1):
        with pytest.raises(Killed):
            run("killed", kill_at(number))
    with monkeypatch.context() as patch:  # between keeping the evaluation and telling it
        patch.setattr(Progress, "add", kill)
        with pytest.raises(Killed):
            run("killed")
    asked: list[int] = []
    progress = run("killed", lambda record: asked.append(record.number))
    assert asked == []
    assert numbers(progress) | {"rounds": last} == undisturbed
    assert [record.number for record in progress.news()] == list(range(1, last + 1))
    assert progress.success() is not None


def test_a_run_goes_on_behind_its_last_round(
    run: Callable[..., Progress], undisturbed: dict[str, Any]
) -> None:
    with pytest.raises(Killed):
        run("further", kill_at(2))
    asked: list[int] = []

    def watch(record: RoundRecord) -> None:
        asked.append(record.number)
        kill_at(4)(record)

    with pytest.raises(Killed):
        run("further", watch)
    assert asked == [3, 4]


def test_a_run_that_was_recorded_is_not_recorded_again(
    run: Callable[..., Progress], home: Home, undisturbed: dict[str, Any]
) -> None:
    first = Progress(home.run("whole")).success()
    (home.run("whole") / "outcome.json").unlink()  # killed before it was written
    second = run("whole").success()
    assert first is not None
    assert second is not None
    assert first["version"] == second["version"]
    versions = list_versions(open_store(home, Settings(home=home.root)), "small")
    assert sum(version.version == first["version"] for version in versions) == 1


def test_an_older_process_ends_without_a_word(run: Callable[..., Progress], home: Home) -> None:
    folder = home.run("overtaken")

    def overtake(record: RoundRecord) -> None:
        if record.number == 2:
            newer = Checkpoints.claim(folder / "checkpoint")
            with Progress(folder).hold(newer.token):
                Progress(folder, newer.fenced).succeed(newer.token, version="newer")

    progress = run("overtaken", overtake)
    assert progress.success() == {"ok": True, "token": 2, "version": "newer"}
    assert not (folder / "result.json").exists()
    assert [record.number for record in progress.news()] == [1, 2]


def test_an_older_failure_says_nothing_either(run: Callable[..., Progress], home: Home) -> None:
    folder = home.run("failing")

    def fail(record: RoundRecord) -> None:
        Checkpoints.claim(folder / "checkpoint")
        raise FederationError("too late")

    assert not run("failing", fail).ended()


def test_a_process_that_is_overtaken_while_it_records_keeps_the_newer_one_waiting(
    run: Callable[..., Progress], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry knows no tokens: two that record one run would make two versions."""
    folder = home.run("recording")
    monkeypatch.setattr("fedrisk.home.LOCK_SECONDS", 0.05)

    def record(*_: object) -> str:
        with pytest.raises(FederationError, match="another process"):
            Checkpoints.claim(folder / "checkpoint")
        return "7"

    monkeypatch.setattr("fedrisk.registry.record.record_training", record)
    assert run("recording").success() == {"ok": True, "token": 1, "version": "7"}


def test_a_process_that_was_overtaken_records_no_version(
    run: Callable[..., Progress], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, recorded = home.run("late"), list[object]()
    bring = Progress.bring

    def overtaken(self: Progress, result: TrainingResult) -> None:
        bring(self, result)
        Checkpoints.claim(folder / "checkpoint")

    monkeypatch.setattr(Progress, "bring", overtaken)
    monkeypatch.setattr("fedrisk.registry.record.record_training", recorded.append)
    assert not run("late").ended()
    assert not recorded


def test_a_round_that_ends_a_run_is_told_with_its_refusals(
    home: Home, sites: dict[str, Path]
) -> None:
    request = TrainingRequest(
        run_id="short", study=STUDY, sites=("north", "west"), as_of="2026-01-01", deadline=0.3
    )
    execute(InMemoryGrid(sites), request, Settings(home=home.root))
    unfinished = Progress(home.run("short")).unfinished()
    assert unfinished is not None
    assert unfinished.number == 1
    assert "'west' did not answer" in unfinished.dropped["west"]


def test_a_run_that_flower_ended_says_so(home: Home, sites: dict[str, Path]) -> None:
    class Ended(InMemoryGrid):
        def get_node_ids(self) -> Any:
            raise RunNotRunningException

    request = TrainingRequest(run_id="ended", study=STUDY, as_of="2026-01-01")
    with pytest.raises(RunNotRunningException):
        execute(Ended(sites), request, Settings(home=home.root))
    with pytest.raises(FederationError, match="Flower ended the run"):
        Progress(home.run("ended")).outcome()


def test_a_failure_is_told_and_does_not_outlive_the_next_attempt(
    run: Callable[..., Progress], home: Home
) -> None:
    def fail(record: RoundRecord) -> None:
        raise FederationError("disk full")

    with pytest.raises(FederationError, match="disk full"):
        run("mended", fail).outcome()
    seen: list[bool] = []

    def look(record: RoundRecord) -> None:
        seen.append(Progress(home.run("mended")).ended())
        raise Killed

    with pytest.raises(Killed):
        run("mended", look)
    assert seen == [False]
    with pytest.raises(FederationError, match="the coordinator's app failed: Killed"):
        Progress(home.run("mended")).outcome()


def test_a_coordinator_s_app_that_dies_leaves_the_run_to_its_supervisor(
    home: Home, sites: dict[str, Path], tmp_path: Path
) -> None:
    settings = Settings(home=home.root, federation=tmp_path)
    request = TrainingRequest(run_id="crashed", study=STUDY, as_of="2026-01-01")

    class Broken(InMemoryGrid):
        def get_node_ids(self) -> Any:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedrisk.cli.server_app.Countersigner.open", lambda *_: None)
        with pytest.raises(Killed):
            execute(Broken(sites), request, settings)
    assert not Progress(home.run("crashed")).ended()
    assert "Killed" in (home.run("crashed") / "crash.txt").read_text()


def test_a_stopped_run_does_not_begin(
    run: Callable[..., Progress], home: Home, undisturbed: dict[str, Any]
) -> None:
    progress = Progress(home.run("stopped"))
    progress.stop("run stopped was stopped")
    progress.fail(FederationError("was stopped"), Checkpoints.claim(progress.folder / "c").token)
    assert run("stopped").ended()
    assert list(progress.news()) == []
    assert progress.token() == -1
    progress.reopen()
    assert numbers(run("stopped"))["model"] == undisturbed["model"]
