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
from typing import Any, Final, Literal

from fedrisk.errors import HomeError
from fedrisk.monitoring.alerts.alert import Alert, drift_alerts, failure_alert, loop_alerts
from fedrisk.monitoring.alerts.notifier import Notifier
from fedrisk.retraining.schedule import Schedule
from fedrisk.retraining.watch_store import LastRun, WatchStore

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


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    Attributes
    ----------
    code : int
        Exit code; negative for a signal.
    answer : dict or None
        The JSON that it printed.
    """

    code: int
    answer: Mapping[str, Any] | None = None

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

    def turn(self) -> list[str]:
        """Run what is due, one after the other; what was run.

        A database that is away is told in the log; everything is due again with the next turn.
        """
        ran: list[str] = []
        try:
            self.notifier.again(self.clock())
            for job, schedule in self.schedules.items():
                now = self.clock()
                last = self.store.last(job)
                if last is None or last.began > now + CLOCK_WENT_BACK:
                    self.store.keep(job, LastRun(now, now, 0))
                elif schedule.due(last.began, now):
                    self._run(job, last, now)
                    ran.append(job)
            if self._waits():
                # Whoever ended it in this moment: nothing new begins without harm.
                self._retrain("drift")
                ran.append(OPEN)
        except HomeError as error:
            _log.error("%s", error.message)
        return ran

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
        done = self._command("drift", ("drift",), drift_alerts)
        if done.code == 0 and (done.answer or {}).get("verdict") in CALLING:
            self._retrain("drift")
        return done.code

    def _retrain(self, trigger: str) -> int:
        """Begin a retraining, or take up the one that is open, whatever began it."""
        done = self._command("retrain", ("retrain", "--trigger", trigger), loop_alerts)
        now = self.clock()
        self.store.keep(OPEN, LastRun(now, now, done.code))
        return done.code

    def _command(
        self,
        name: str,
        words: Sequence[str],
        judge: Callable[[str, Mapping[str, Any]], tuple[Alert, ...]],
    ) -> Finished:
        whole = (*words, *self.words, *self.more.get(name, ()), "--json")
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
