"""Who follows a run sees every round and its end, and stops waiting when no sign comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.errors import FederationError, QuorumError, UsageError
from fedrisk.federation.engines.deployed import DeployedEngine
from fedrisk.federation.engines.flower import Control
from fedrisk.federation.progress import Progress
from fedrisk.federation.provisioning.coordinator import Federation, FederationSettings
from fedrisk.federation.provisioning.members import Member, Members
from fedrisk.federation.unfinished import Submission
from fedrisk.study import Study
from fedrisk.study.training import RoundRecord, TrainingRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = RoundRecord(number=1, kind="summary", seconds=1.0)

Play = Callable[[Progress], None]


class Stage(Control):
    """Flower's command, whose runs are played by a function in a thread."""

    def __init__(self, progress: Progress, play: Play, silent: int) -> None:
        super().__init__({}, Path("unused.log"))
        object.__setattr__(self, "silent", silent)
        object.__setattr__(self, "looks", [])
        object.__setattr__(self, "progress", progress)
        object.__setattr__(self, "play", play)
        object.__setattr__(self, "stopped", [])

    def reachable(self) -> bool:
        self.looks.append(0)
        return len(self.looks) > self.silent

    def run(self, config: Path) -> str:
        if len(self.looks) <= self.silent:
            raise FederationError("flwr run failed: the SuperLink is unavailable")
        threading.Thread(target=self.play, args=(self.progress,), daemon=True).start()
        return "flower-1"

    def stop(self, run: str) -> None:
        self.stopped.append(run)


@dataclass(frozen=True)
class Engine(DeployedEngine):
    play: Play = lambda _: None
    controls: list[Stage] = field(default_factory=list)
    silent: int = 0  # looks until SuperLink listens

    def _control(self, run: Path) -> Stage:
        self.controls.append(Stage(Progress(run), self.play, self.silent))
        return self.controls[-1]


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    folder = tmp_path / "federation"
    folder.mkdir()
    made = Federation(folder, FederationSettings(id="0", hosts=("localhost",)))
    Members(
        sites={
            "north": Member(status="approved"),
            "south": Member(status="approved"),
            "east": Member(status="invited"),
            "west": Member(status="removed"),
        }
    ).write(made.members.path)
    return made


@pytest.fixture
def request_(study: Study) -> TrainingRequest:
    return TrainingRequest(
        run_id="r1", study=study, sites=("north",), as_of="2026-01-01", deadline=0.1
    )


def follow(engine: Engine, request: TrainingRequest) -> tuple[dict[str, object], list[int]]:
    seen: list[int] = []
    outcome = engine.run(request, lambda record: seen.append(record.number), lambda _: None)
    return outcome, seen


def succeed(progress: Progress) -> None:
    with progress.hold(1):
        progress.add(FIRST)
        progress.succeed(1, version="7")


def test_approved_sites_take_part(federation: Federation) -> None:
    engine = DeployedEngine(federation, {})
    assert engine.sites() == ("north", "south")
    assert engine.sites(["south"]) == ("south",)
    for name in ("east", "west", "nobody"):
        with pytest.raises(UsageError, match=f"no approved site is named {name}"):
            engine.sites([name])


def test_a_federation_without_sites(federation: Federation) -> None:
    Members().write(federation.members.path)
    with pytest.raises(UsageError, match="no site yet"):
        DeployedEngine(federation, {}).sites()


def test_rounds_and_outcome_are_followed(federation: Federation, request_: TrainingRequest) -> None:
    with federation.running_alone():
        outcome, seen = follow(Engine(federation, {}, 30.0, play=succeed), request_)
    assert outcome["version"] == "7"
    assert seen == [1]
    assert Submission.read(federation.home / "runs" / "r1") is not None


def test_a_coordinator_that_was_just_started_is_waited_for(
    federation: Federation, request_: TrainingRequest
) -> None:
    with federation.running_alone():
        outcome, _ = follow(Engine(federation, {}, 30.0, play=succeed, silent=2), request_)
        assert outcome["version"] == "7"
        late = Engine(federation, {}, 30.0, start_seconds=0.1, play=succeed, silent=10**9)
        with pytest.raises(FederationError, match=r"its SuperLink has not answered for 0\.1 s"):
            follow(late, request_.model_copy(update={"run_id": "r2"}))


def test_the_error_of_the_run_is_raised(federation: Federation, request_: TrainingRequest) -> None:
    def fail(progress: Progress) -> None:
        progress.fail(QuorumError("1 of the 2 sites answered"))

    engine = Engine(federation, {}, 30.0, play=fail)
    with federation.running_alone(), pytest.raises(QuorumError, match="1 of the 2"):
        follow(engine, request_)


def test_a_coordinator_that_does_not_run_takes_no_run(
    federation: Federation, request_: TrainingRequest
) -> None:
    engine = Engine(federation, {}, 30.0, play=succeed)
    with pytest.raises(FederationError, match="does not run"):
        follow(engine, request_)
    assert engine.controls == []


def test_silence_ends_and_the_run_is_not_lost(
    federation: Federation, request_: TrainingRequest
) -> None:
    engine = Engine(federation, {}, 0.2)
    with federation.running_alone(), pytest.raises(FederationError, match="no sign") as error:
        follow(engine, request_)
    assert "--resume r1" in error.value.hint
    assert not Progress(federation.home / "runs" / "r1").ended()


def test_a_run_that_goes_on_is_followed_and_not_submitted_again(
    federation: Federation, request_: TrainingRequest
) -> None:
    progress = Progress(federation.home / "runs" / "r1")
    engine = Engine(federation, {}, 30.0, play=succeed)
    with progress.hold(1):
        progress.add(FIRST)
        timer = threading.Timer(0.3, lambda: progress.succeed(1, version="7"))
        timer.start()
        outcome, seen = follow(engine, request_)  # also while the coordinator is away
    assert outcome["version"] == "7"
    assert seen == [1]
    assert engine.controls == []


def test_a_run_that_failed_is_taken_up(federation: Federation, request_: TrainingRequest) -> None:
    Progress(federation.home / "runs" / "r1").fail(FederationError("disk full"))
    with federation.running_alone():
        outcome, _ = follow(Engine(federation, {}, 30.0, play=succeed), request_)
    assert outcome["version"] == "7"


def test_a_run_that_ended_well_is_told_again(
    federation: Federation, request_: TrainingRequest
) -> None:
    succeed(Progress(federation.home / "runs" / "r1"))
    engine = Engine(federation, {}, 30.0)
    outcome, seen = follow(engine, request_)
    assert outcome["version"] == "7"
    assert seen == [1]
    assert engine.controls == []


def test_stopping(federation: Federation, request_: TrainingRequest) -> None:
    engine = Engine(federation, {}, 0.2)
    with federation.running_alone(), pytest.raises(FederationError, match="no sign"):
        follow(engine, request_)
    engine.stop(request_)
    assert engine.controls[-1].stopped == ["flower-1"]
    with pytest.raises(FederationError, match="was stopped by who asked"):
        Progress(federation.home / "runs" / "r1").outcome()


def test_a_stopped_run_is_taken_up_by_who_asks_again(
    federation: Federation, request_: TrainingRequest
) -> None:
    engine = Engine(federation, {}, 30.0, play=succeed)
    engine.stop(request_)  # interrupted before it was submitted
    run = federation.home / "runs" / "r1"
    assert Progress(run).stopped()
    with federation.running_alone():
        progress = Progress(run)

        def begin_anew(_: Progress) -> None:
            assert not progress.stopped()
            with progress.hold(9):
                progress.succeed(9, version="7")

        outcome, _ = follow(Engine(federation, {}, 30.0, play=begin_anew), request_)
    assert outcome["version"] == "7"


def test_a_run_that_was_submitted_just_now_is_not_submitted_again(
    federation: Federation, request_: TrainingRequest
) -> None:
    engine = Engine(federation, {}, 0.2)
    with federation.running_alone():
        for _ in range(2):
            with pytest.raises(FederationError, match="no sign"):
                follow(engine, request_)
    assert len(engine.controls) == 1
