"""A run that died is submitted again, with longer waits, and given up with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedrisk.errors import FederationError, SupersededError
from fedrisk.federation import unfinished
from fedrisk.federation.calls import Call
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.engines.flower import Control
from fedrisk.federation.progress import Progress
from fedrisk.federation.unfinished import (
    ATTEMPTS,
    BACKOFF_SECONDS,
    HANG_SECONDS,
    START_SECONDS,
    Submission,
    deciding,
    pending,
    read_request,
    stop,
    submit,
    take_up,
)
from fedrisk.home import Home
from fedrisk.study import Study
from fedrisk.study.training import RoundRecord, TrainingRequest

NOW = 1_800_000_000.0


class Recorder(Control):
    """Flower's command, but it only notes what it is told."""

    def __init__(self, fault: str = "") -> None:
        super().__init__({}, Path("unused.log"))
        object.__setattr__(self, "ran", [])
        object.__setattr__(self, "stopped", [])
        object.__setattr__(self, "fault", fault)
        object.__setattr__(self, "gone", False)

    def run(self, config: Path) -> str:
        if self.fault:
            raise FederationError(self.fault)
        self.ran.append(config)
        return f"flower-{len(self.ran)}"

    def stop(self, run: str) -> None:
        self.stopped.append(run)
        if self.gone:
            raise FederationError("flwr stop failed: run is finished already")


@pytest.fixture
def run(tmp_path: Path, study: Study) -> Path:
    """A run that was asked for."""
    folder = Home(tmp_path).run("r1")
    Progress(folder).ask(
        TrainingRequest(run_id="r1", study=study, sites=("a",), as_of="2026-01-01", deadline=10.0)
    )
    return folder


@pytest.fixture
def control() -> Any:
    return Recorder()


def look(run: Path, control: Control, now: float) -> list[str]:
    events: list[str] = []
    home = Home(run.parent.parent)
    take_up(home, control, lambda event, **_: events.append(event), lambda: now)
    return events


def began_and_died(run: Path, rounds: int = 0) -> None:
    """An app that claims the run, finishes some rounds and is killed."""
    with Progress(run).hold(Checkpoints.claim(run / "checkpoint").token):
        for _ in range(rounds):
            Progress(run).add(RoundRecord(number=1, kind="summary", seconds=1.0))


def test_the_request_that_is_kept_is_the_one_that_is_submitted(run: Path, control: Any) -> None:
    submit(control, run, NOW)
    (config,) = control.ran
    assert read_request(run).run_id == "r1"
    assert "r1" in config.read_text()
    assert Submission.read(run) == Submission("flower-1", NOW, -1, 0, 1)


def test_a_submission_that_fails_leaves_the_run_alone(run: Path) -> None:
    with pytest.raises(FederationError, match="away"):
        submit(Recorder("away"), run, NOW)
    assert Submission.read(run) is None


def test_a_run_that_never_began_waits_for_flower(run: Path, control: Any) -> None:
    submit(control, run, NOW)
    assert look(run, control, NOW + START_SECONDS - 1) == []
    assert look(run, control, NOW + START_SECONDS + 1) == ["run taken up"]


def test_a_run_that_died_is_taken_up_soon(run: Path, control: Any) -> None:
    submit(control, run, NOW)
    began_and_died(run)
    assert look(run, control, NOW + BACKOFF_SECONDS / 2) == []
    assert look(run, control, NOW + BACKOFF_SECONDS + 1) == ["run taken up"]
    assert len(control.ran) == 2


@pytest.mark.parametrize("gone", [False, True])
def test_the_flower_run_that_another_follows_is_stopped_if_it_is_there(
    run: Path, control: Any, gone: bool
) -> None:
    object.__setattr__(control, "gone", gone)
    submit(control, run, NOW)
    began_and_died(run)
    events = look(run, control, NOW + BACKOFF_SECONDS + 1)
    assert events[-1] == "run taken up"
    assert control.stopped == ["flower-1"]
    assert len(control.ran) == 2


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while `flwr run` is waited for."""

    class Interrupted(Call[Any]):
        told = False

        def ended(self, seconds: float | None = 0.0) -> bool:
            if not self.told:
                self.told = True
                raise KeyboardInterrupt
            return super().ended(seconds)

    monkeypatch.setattr(unfinished, "Call", Interrupted)


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_submission_is_known_and_can_be_stopped(run: Path, control: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        submit(control, run, NOW)
    assert Submission.read(run) == Submission("flower-1", NOW, -1, 0, 1)
    assert pending(run, NOW + 1)
    stop(control, run, "run r1 was stopped")
    assert control.stopped == ["flower-1"]


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_submission_that_fails_leaves_the_run_alone(run: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        submit(Recorder("away"), run, NOW)
    assert Submission.read(run) is None


def test_waits_double_and_end(run: Path, control: Any) -> None:
    submit(control, run, NOW)
    now = NOW
    for attempt in range(1, ATTEMPTS):
        began_and_died(run)
        pause = BACKOFF_SECONDS * 2 ** (attempt - 1)
        assert look(run, control, now + pause - 0.1) == []
        now += pause + 0.1
        assert look(run, control, now) == ["run taken up"]
    began_and_died(run)
    (run / "crash.txt").write_text("no memory")
    assert look(run, control, now + 1000) == ["run given up"]
    assert len(control.ran) == ATTEMPTS
    with pytest.raises(FederationError, match=f"started {ATTEMPTS} times .*no memory"):
        Progress(run).outcome()
    assert look(run, control, now + 9000) == []


def test_a_finished_round_gives_new_attempts(run: Path, control: Any) -> None:
    submit(control, run, NOW)
    now = NOW
    for _ in range(2 * ATTEMPTS):
        began_and_died(run, rounds=1)
        now += BACKOFF_SECONDS + 0.1
        assert look(run, control, now) == ["run taken up"]


def test_the_last_attempt_counts_as_progress_too(run: Path, control: Any) -> None:
    Submission("flower-1", NOW, -1, 0, ATTEMPTS).write(run)
    began_and_died(run, rounds=1)
    assert look(run, control, NOW + 1000) == ["run taken up"]


def test_a_run_that_goes_on_is_left_alone_until_it_hangs(run: Path, control: Any) -> None:
    submit(control, run, NOW)
    with Progress(run).hold(1):
        began = (run / "alive-1").stat().st_mtime
        before = Submission.read(run)
        assert before is not None
        Submission(before.flower_run, began, -1, 0, 1).write(run)
        limit = 2 * 10.0 + HANG_SECONDS
        assert look(run, control, began + limit - 1) == []
        assert look(run, control, began + limit + 1) == ["run taken up"]


def test_a_run_with_an_outcome_is_left_alone(run: Path, control: Any) -> None:
    submit(control, run, NOW)
    Progress(run).succeed(version="1")
    assert look(run, control, NOW + 9999) == []


def test_a_bad_outcome_of_an_earlier_process_does_not_count(run: Path, control: Any) -> None:
    submit(control, run, NOW)
    Progress(run).fail(FederationError("disk full"), token=1)
    with Progress(run).hold(2):
        pass
    assert look(run, control, NOW + 9999) == ["run taken up"]


def test_a_run_of_another_engine_is_left_alone(run: Path, control: Any) -> None:
    began_and_died(run)
    assert look(run, control, NOW) == []


def test_a_fault_at_one_run_does_not_keep_the_others_waiting(
    run: Path, control: Any, study: Study
) -> None:
    (run / "submission.json").write_text("{}")
    other = run.with_name("r2")
    Progress(other).ask(TrainingRequest(run_id="r2", study=study, as_of="2026-01-01"))
    submit(control, other, NOW)
    assert look(run, control, NOW + 9999) == ["run not taken up", "run taken up"]


def test_what_stays_wrong_is_told_once(run: Path, control: Any) -> None:
    (run / "submission.json").write_text("{}")
    home, events, told = Home(run.parent.parent), list[str](), dict[str, str]()
    for _ in range(3):
        take_up(home, control, lambda event, **_: events.append(event), lambda: NOW, told)
    assert events == ["run not taken up"]
    (run / "submission.json").unlink()


@pytest.mark.parametrize("damaged", ["checkpoint/fence", "outcome.json"])
def test_a_damaged_file_of_one_run_does_not_either(
    run: Path, control: Any, study: Study, damaged: str
) -> None:
    submit(control, run, NOW)
    Checkpoints.claim(run / "checkpoint")
    Progress(run).stop("run r1 was stopped")
    (run / damaged).write_text("[]")
    other = run.with_name("r2")
    Progress(other).ask(TrainingRequest(run_id="r2", study=study, as_of="2026-01-01"))
    submit(control, other, NOW)
    assert look(run, control, NOW + 9999) == ["run not taken up", "run taken up"]


def test_stopping_ends_a_run_for_good(run: Path, control: Any) -> None:
    submit(control, run, NOW)
    checkpoints = Checkpoints.claim(run / "checkpoint")
    with Progress(run).hold(checkpoints.token):
        stop(control, run, "run r1 was stopped")
        with pytest.raises(SupersededError):
            checkpoints.verify()
    assert control.stopped == ["flower-1"]
    assert look(run, control, NOW + 9999) == []
    with pytest.raises(FederationError, match="was stopped"):
        Progress(run).outcome()


def test_a_stopped_run_stays_stopped_when_its_app_was_still_starting(
    run: Path, control: Any
) -> None:
    submit(control, run, NOW)
    stop(control, run, "run r1 was stopped")
    began_and_died(run)  # an app that does not look: what it voids is the outcome alone
    for _ in range(3):
        assert look(run, control, NOW + 9999) == []
    assert len(control.ran) == 1
    with pytest.raises(FederationError, match="was stopped"):
        Progress(run).outcome()


def test_a_stopped_run_is_submitted_by_who_reopens_it_alone(run: Path, control: Any) -> None:
    stop(control, run, "run r1 was stopped")
    with pytest.raises(FederationError, match="was stopped") as error:
        submit(control, run, NOW)
    assert "--resume r1" in error.value.hint
    assert control.ran == []
    Progress(run).reopen()
    submit(control, run, NOW)
    assert len(control.ran) == 1


def test_a_run_that_is_stopped_while_it_is_submitted_is_stopped_at_flower(
    run: Path, control: Any
) -> None:
    class Slow(Recorder):
        def run(self, config: Path) -> str:
            stop(control, run, "run r1 was stopped")  # its owner knows no id of Flower's yet
            return super().run(config)

    slow = Slow()
    with pytest.raises(FederationError, match="was stopped"):
        submit(slow, run, NOW)
    assert control.stopped == []
    assert slow.stopped == ["flower-1"]
    assert look(run, control, NOW + 9999) == []


def test_one_at_a_time_decides_about_a_run(
    run: Path, control: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(control, run, NOW)
    monkeypatch.setattr("fedrisk.home.LOCK_SECONDS", 0.0)
    with deciding(run):
        assert look(run, control, NOW + 9999) == ["run not taken up"]
    assert look(run, control, NOW + 9999) == ["run taken up"]


def test_a_submission_is_pending_until_its_app_begins_or_is_late(run: Path, control: Any) -> None:
    assert not pending(run, NOW)
    submit(control, run, NOW)
    assert pending(run, NOW + START_SECONDS - 1)
    assert not pending(run, NOW + START_SECONDS + 1)
    began_and_died(run)
    assert not pending(run, NOW + 1)
