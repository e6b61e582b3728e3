"""Runs of a coordinator that were submitted and did not end: submitted again, a few times.

Flower marks a run whose server app died as failed and leaves it. The run's checkpoints are ours, so
a new Flower run takes it up. Each attempt waits longer than the one before; a run that dies again
and again without finishing a round gets an outcome that says so.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from fedrisk.durable import write_private, write_whole
from fedrisk.errors import FederationError
from fedrisk.federation.calls import Call
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.engines.flower import Control, toml_strings
from fedrisk.federation.progress import Progress
from fedrisk.home import Home, locked
from fedrisk.study.questions import Request, parse_request

#: Submissions in a row without a finished round, before a run is given up.
ATTEMPTS = 6
#: Seconds for Flower to start the app; and the first wait before a run that died is submitted
#: again, doubled by each attempt.
START_SECONDS, BACKOFF_SECONDS = 60.0, 2.0
#: An app that finishes no round for so many seconds beyond two deadlines hangs.
HANG_SECONDS = 300.0
LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Submission:
    """The last time a run was given to Flower; kept as ``submission.json``.

    Attributes
    ----------
    flower_run : str
        Flower's id of it.
    time : float
        Seconds since 1970: it outlives restarts of the machine.
    token : int
        Of the latest process that had begun before.
    rounds : int
        Rounds that were finished then.
    attempts : int
        Submissions since a round was last finished, this one included.
    """

    flower_run: str
    time: float
    token: int
    rounds: int
    attempts: int

    @classmethod
    def read(cls, run: Path) -> Submission | None:
        """The submission of a run; None when it was never given to a coordinator."""
        try:
            return cls(**json.loads((run / "submission.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def write(self, run: Path) -> None:
        """Keep it, whole."""
        write_whole(run / "submission.json", json.dumps(asdict(self)) + "\n")


def submit(control: Control, run: Path, now: float) -> Submission:
    """Give a run, whose request is kept in its folder, to Flower; to call in `deciding`.

    Parameters
    ----------
    control : Control
        Of the running SuperLink.
    run : Path
        ``runs/ID`` of the home.
    now : float
        Seconds since 1970.

    Raises
    ------
    FederationError
        When SuperLink does not take it; nothing is written down then. When the run was stopped,
        before or meanwhile; Flower's run is stopped then too.
    KeyboardInterrupt
        Once Flower has answered and that is written down: an interrupted submission is known, and
        can be followed or stopped. Only a second interrupt does not wait; what it leaves is taken
        up by the coordinator.
    """
    progress, rounds = Progress(run), finished_rounds(run)
    _refuse_stopped(progress)
    before = Submission.read(run)
    again = before is not None and before.rounds == rounds
    attempts = before.attempts + 1 if before is not None and again else 1
    token = progress.token()
    config = run / "request.toml"
    text = toml_strings(request=read_request(run).model_dump_json())
    write_private(config, text.encode())
    done = Submission("", now, token, rounds, attempts)
    done.write(run)  # first: whoever dies in between leaves a run that is taken up later
    call = Call(lambda: control.run(config))
    interrupt = _wait(call)
    try:
        done = replace(done, flower_run=call.result())
    except FederationError as error:
        _restore(run, before)
        raise interrupt or error from None
    done.write(run)
    if interrupt is not None:
        raise interrupt
    if progress.stopped():  # who stopped it could not know the id of Flower's run
        control.stop(done.flower_run)
    _refuse_stopped(progress)
    return done


def _wait(call: Call[str]) -> KeyboardInterrupt | None:
    """Wait for a call to end; an interrupt meanwhile is for afterwards."""
    try:
        call.ended(None)
    except KeyboardInterrupt as interrupt:
        call.ended(None)
        return interrupt
    return None


def deciding(run: Path) -> AbstractContextManager[None]:
    """Be the only one who decides whether a run is submitted, and submits it.

    Raises
    ------
    FederationError
        When another process decides for too long.
    """
    return locked(run / "submission.lock", FederationError)


def pending(run: Path, now: float) -> bool:
    """Whether a run that has not ended was submitted just now, and its app may still begin."""
    submission, progress = Submission.read(run), Progress(run)
    if submission is None or progress.stopped() or progress.ended():
        return False
    begun = progress.token() > submission.token
    return not begun and now - submission.time <= START_SECONDS


def _refuse_stopped(progress: Progress) -> None:
    if reason := progress.stopped():
        raise _stopped(progress.folder, reason)


def _stopped(run: Path, reason: str) -> FederationError:
    return FederationError(reason, hint=f"`fedrisk train --resume {run.name}` takes it up")


def _restore(run: Path, before: Submission | None) -> None:
    if before is None:
        (run / "submission.json").unlink()
    else:
        before.write(run)


def read_request(run: Path) -> Request:
    """What a run was asked for.

    Raises
    ------
    FederationError
        When no request is kept there, or it cannot be read.
    """
    try:
        text = (run / "request.json").read_text(encoding="utf-8")
        return parse_request(text)
    except FileNotFoundError:
        raise FederationError(
            f"no run {run.name} in {run.parent}", hint="--home or --federation names another place"
        ) from None
    except ValueError as error:
        raise FederationError(f"{run / 'request.json'} cannot be read: {error}") from None


def finished_rounds(run: Path) -> int:
    """How many rounds a run has told of."""
    try:
        return (run / "progress.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def take_up(
    home: Home,
    control: Control,
    log: Callable[..., None],
    clock: Callable[[], float] = time.time,
    told: dict[str, str] | None = None,
) -> None:
    """Submit again every run that was submitted, did not end, and that no process works on.

    Parameters
    ----------
    home : Home
        The coordinator's.
    control : Control
        Of the running SuperLink.
    log : callable
        Takes an event and its fields.
    clock : callable
        Seconds since 1970.
    told : dict of run to reason
        Why runs were not taken up at the last look: what stays so is told once.
    """
    told = {} if told is None else told
    for path in sorted((home.root / "runs").glob("*/submission.json")):
        run = path.parent
        try:
            if _to_decide(run, clock()):
                with deciding(run):
                    _take_up(run, control, log, clock())
        except Exception as error:  # noqa: BLE001 whatever is wrong with one, others wait for theirs
            reason = str(error) or repr(error)
            if told.get(run.name) != reason:
                log("run not taken up", level="error", run=run.name, reason=reason)
            told[run.name] = reason
        else:
            told.pop(run.name, None)


@dataclass
class Unfinished:
    """Looks after a coordinator's runs beside its other work, every few seconds.

    Attributes
    ----------
    home : Home
    control : Control
    log : callable
    """

    home: Home
    control: Control
    log: Callable[..., None]
    _next: float = 0.0
    _thread: threading.Thread | None = None
    _told: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """Look once more if it is time; a look that goes on is not waited for."""
        busy = self._thread is not None and self._thread.is_alive()
        if busy or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK_SECONDS
        work = (self.home, self.control, self.log, time.time, self._told)
        self._thread = threading.Thread(target=take_up, args=work, daemon=True)
        self._thread.start()


def _to_decide(run: Path, now: float) -> bool:
    submission, progress = Submission.read(run), Progress(run)
    if submission is None or progress.ended():
        return False
    return bool(progress.stopped()) or due(run, submission, now)


def _take_up(run: Path, control: Control, log: Callable[..., None], now: float) -> None:
    submission = Submission.read(run)
    if submission is None or not _to_decide(run, now):
        return
    if reason := Progress(run).stopped():  # who stopped it was killed before the outcome
        _end(run, _stopped(run, reason))
        return
    progressed = finished_rounds(run) > submission.rounds
    if submission.attempts >= ATTEMPTS and not progressed:
        _give_up(run, submission.attempts)
        log("run given up", level="error", run=run.name, attempts=submission.attempts)
        return
    _stop_superseded(control, submission, log, run)
    done = submit(control, run, now)
    log("run taken up", run=run.name, attempt=done.attempts, rounds=done.rounds)


def _stop_superseded(
    control: Control, submission: Submission, log: Callable[..., None], run: Path
) -> None:
    """End the Flower run that another one follows: sites need not answer what it still asks."""
    if not submission.flower_run:
        return
    try:
        control.stop(submission.flower_run)
    except FederationError as error:  # Flower has ended it itself, as a rule
        log("superseded run not stopped", level="debug", run=run.name, reason=error.message)


def due(run: Path, submission: Submission, now: float) -> bool:
    """Whether a run that has not ended is to be submitted again now."""
    progress, waited = Progress(run), now - submission.time
    if progress.alive():
        return now - _last_sign(run, submission) > 2 * read_request(run).deadline + HANG_SECONDS
    begun = progress.token() > submission.token
    pause = BACKOFF_SECONDS * 2 ** (submission.attempts - 1)
    return waited > (pause if begun else START_SECONDS)


def _last_sign(run: Path, submission: Submission) -> float:
    """When the run last began or finished a round, seconds since 1970."""
    signs = [*run.glob("alive-*"), *run.glob("progress.jsonl")]
    return max([submission.time, *(path.stat().st_mtime for path in signs)])


def _give_up(run: Path, attempts: int) -> None:
    crash = run / "crash.txt"
    last = crash.read_text(encoding="utf-8").strip() if crash.exists() else "it left no reason"
    error = FederationError(
        f"run {run.name} was started {attempts} times and died each time before it finished "
        f"another round; the last time: {last}",
        hint=f"mend the cause, then `fedrisk train --resume {run.name}`",
    )
    _end(run, error)


def _end(run: Path, error: FederationError) -> None:
    """Write a bad outcome in place of whoever works on the run."""
    checkpoints = Checkpoints.claim(run / "checkpoint")
    Progress(run, checkpoints.fenced).fail(error, checkpoints.token)


def stop(control: Control, run: Path, reason: str) -> None:
    """End a run for good: its process may write nothing more, and nobody takes it up by itself.

    An app that Flower is still starting finds the run stopped, or itself superseded: it claims the
    run before it looks, and here the run is marked before it is claimed.

    Raises
    ------
    FederationError
        When Flower does not stop it; the outcome is written all the same.
    """
    Progress(run).stop(reason)
    _end(run, _stopped(run, reason))
    submission = Submission.read(run)
    if submission is not None and submission.flower_run:
        control.stop(submission.flower_run)
