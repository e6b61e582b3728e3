"""The watch: runs commands when they are due, and tells people what they found.

Each command is a process of its own: memory comes back, a crash ends one run and not the watch, and
what runs by schedule is what a person would type. Times are kept in the database, so that a restart
neither repeats a run nor forgets one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from fedrisk.errors import HomeError
from fedrisk.monitoring.alerts.alert import Alert, drift_alerts, failure_alert, loop_alerts
from fedrisk.monitoring.alerts.notifier import Notifier
from fedrisk.retraining.schedule import Schedule
from fedrisk.retraining.watch_store import LastRun, WatchStore

if TYPE_CHECKING:
    from fedrisk.retraining.operating import Operating
    from fedrisk.retraining.operation import Operation

_log = logging.getLogger("fedrisk.watch")
JobName = Literal["drift", "retrain", "digest"]
#: Verdicts after which the loop is asked at once whether to retrain.
CALLING: Final = frozenset({"drift", "harm"})
#: A run that began so much later than now was written down by a clock that was wrong.
CLOCK_WENT_BACK = timedelta(hours=1)
#: A retraining that waits for its trial, a person or matured labels is taken up so often.
TAKE_UP = timedelta(minutes=5)
#: Under this name the store keeps when one was last asked for or taken up.
OPEN: Final = "open retraining"
#: Under this name people are told of what fails in the watch, and not in its commands.
ITSELF: Final = "watch"


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    Attributes
    ----------
    code : int
        Exit code; negative for a signal.
    answer : dict or None
        The JSON that it printed.
    lines : tuple of str
        What it told last, beside its answer.
    told : int
        How many lines it told in all.
    """

    code: int
    answer: Mapping[str, Any] | None = None
    lines: tuple[str, ...] = ()
    told: int = 0

    @property
    def error(self) -> str:
        """Why it failed, as it says itself, or what can be said without it."""
        told = str((self.answer or {}).get("error") or "")
        return told or (
            "a signal ended it" if self.code < 0 else "it answered nothing; see the log"
        )

    @classmethod
    def read(cls, code: int, output: str) -> Finished:
        """From what a command printed; output that is no JSON object counts as none."""
        answer = None
        with suppress(ValueError):
            found = json.loads(output)
            answer = found if isinstance(found, dict) else None
        return cls(code, answer)


#: Runs `fedrisk` with these words and waits for its end.
Runner = Callable[[Sequence[str]], Finished]


@dataclass(frozen=True)
class Watch:
    """What is run when.

    Parameters
    ----------
    model : str
        The registered model's name, for alerts.
    schedules : dict of JobName to Schedule
        A job that is not there never runs.
    words : tuple of str
        Options that every command gets: the home, the sites.
    more : dict of str to tuple of str
        By command, options that it alone gets.
    store : WatchStore
    notifier : Notifier
    run : callable
    clock : callable
        The time, with its zone.
    idle : callable
        Whether a retraining is open and nobody is at it.
    tidy : callable
        Told the time after every look for drift; forgets what is old.
    listeners : tuple of callable
        Told the job's name and how each command ended, for figures.
    operating : Operating, optional
        What somebody asks for beside the schedules.
    """

    model: str
    schedules: Mapping[JobName, Schedule]
    words: tuple[str, ...]
    store: WatchStore
    notifier: Notifier
    run: Runner
    clock: Callable[[], datetime]
    idle: Callable[[], bool] = lambda: False
    more: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tidy: Callable[[datetime], None] = lambda _: None
    listeners: tuple[Callable[[str, Finished], None], ...] = ()
    operating: Operating | None = None
    #: Steps that failed with the last turn; at first nobody knows what was told before a restart.
    _failing: set[str] = field(default_factory=lambda: {ITSELF}, repr=False)

    def turn(self) -> list[str]:
        """Run what is due, one after the other; what was run.

        A database that is away is told in the log; everything is due again with the next turn. Of
        any other error people are told, and what comes after it goes on.
        """
        ran: list[str] = []
        failed: set[str] = set()
        steps: dict[str, Callable[[], list[str]]] = {
            "alerts": self._tell_again,
            **{job: lambda job=job: self._scheduled(job) for job in self.schedules},  # type: ignore[misc]
            OPEN: self._take_up,
            "operations": self._operate,
        }
        try:
            for name, step in steps.items():
                try:
                    ran += step()
                except HomeError:
                    raise
                except Exception as error:  # noqa: BLE001 a fault of ours must not end the watch
                    failed.add(name)
                    self._fault(name, error)
        except HomeError as error:
            _log.error("%s", error.message)
            return ran
        # Where nobody can be told, the log has it.
        with suppress(Exception):
            self._recovered(failed)
        return ran

    def _tell_again(self) -> list[str]:
        self.notifier.again(self.clock())
        return []

    def _scheduled(self, job: JobName) -> list[str]:
        """Run a job if it is due."""
        now = self.clock()
        last = self.store.last(job)
        if last is None or last.began > now + CLOCK_WENT_BACK:
            self.store.keep(job, LastRun(now, now, 0))
            return []
        if not self.schedules[job].due(last.began, now):
            return []
        self._run(job, last, now)
        return [job]

    def _take_up(self) -> list[str]:
        """Go on with a retraining that waits."""
        if not self._waits():
            return []
        # Whoever ended it in this moment: nothing new begins without harm.
        self._retrain("drift")
        return [OPEN]

    def _operate(self) -> list[str]:
        """Run what somebody asked for."""
        if self.operating is None:
            return []
        operation = self.operating.one(self._asked)
        if operation is None:
            return []
        found = self.operating.store.find(operation.asked.id)
        verdict = (found.answer or {}).get("verdict") if found is not None else None
        if operation.asked.command == "drift" and verdict in CALLING:
            # The operation has ended: who asked for a look need not wait for what follows it.
            self._retrain("drift")
        return [f"asked: {operation.asked.command}"]

    def _asked(self, operation: Operation) -> Finished:
        command = operation.asked.command
        if command == "drift":
            return self._look()
        if command == "retrain":
            return self._retraining(operation.asked.arguments["trigger"])
        assert self.operating is not None  # noqa: S101 it is what asks
        return self._command("train", self.operating.training(operation), lambda *_: ())

    def _fault(self, step: str, error: Exception) -> None:
        """Tell the log and people of a fault in the watch itself."""
        _log.error("%s: %s", step, type(error).__name__, exc_info=error)
        if step in self._failing:
            return  # It was told, and may come with every turn.
        told = f"{step}: {type(error).__name__}; the watch goes on, and its log says where"
        with suppress(Exception):
            alert = Alert("command", ITSELF, "high", "a fault in `fedrisk watch`", told)
            self.notifier.observe(ITSELF, [alert], self.clock())

    def _recovered(self, failed: set[str]) -> None:
        """Tell that a fault is over."""
        before = set(self._failing)
        self._failing.clear()
        self._failing.update(failed)
        if before and not failed:
            self.notifier.observe(ITSELF, (), self.clock())

    def _waits(self) -> bool:
        """Whether a retraining that is not at its end is to be taken up now."""
        last = self.store.last(OPEN)
        lately = last is not None and abs(self.clock() - last.began) < TAKE_UP
        return not lately and self.idle()

    def _run(self, job: JobName, last: LastRun, now: datetime) -> None:
        # Written down first: a run that kills its process must not be run again and again.
        self.store.keep(job, LastRun(now))
        code = 0
        if job == "digest":
            self.notifier.digest(last.began, now)
        elif job == "drift":
            code = self._drift()
            self.tidy(now)
        else:
            code = self._retrain("scheduled")
        self.store.keep(job, LastRun(now, self.clock(), code))

    def _drift(self) -> int:
        done = self._look()
        if done.code == 0 and (done.answer or {}).get("verdict") in CALLING:
            self._retrain("drift")
        return done.code

    def _look(self) -> Finished:
        """Look for drift."""
        return self._command("drift", self._whole("drift"), drift_alerts)

    def _retrain(self, trigger: str) -> int:
        """Begin a retraining, or take up the one that is open, whatever began it."""
        return self._retraining(trigger).code

    def _retraining(self, trigger: str) -> Finished:
        done = self._command("retrain", self._whole("retrain", "--trigger", trigger), loop_alerts)
        now = self.clock()
        self.store.keep(OPEN, LastRun(now, now, done.code))
        return done

    def _whole(self, name: str, *words: str) -> tuple[str, ...]:
        """A command with the options that it gets."""
        return (name, *words, *self.words, *self.more.get(name, ()), "--json")

    def _command(
        self,
        name: str,
        whole: Sequence[str],
        judge: Callable[[str, Mapping[str, Any]], tuple[Alert, ...]],
    ) -> Finished:
        done = self.run(whole)
        _log.info("fedrisk %s ended with code %d", " ".join(whole), done.code)
        for listen in self.listeners:
            listen(name, done)
        now = self.clock()
        if done.code == 0 and done.answer is not None and "error" not in done.answer:
            self.notifier.observe(name, judge(self.model, done.answer), now)
            self.notifier.observe(f"{name} itself", (), now)
        else:
            failed = failure_alert(name, done.code, done.error)
            self.notifier.observe(f"{name} itself", [failed], now)
        return done
