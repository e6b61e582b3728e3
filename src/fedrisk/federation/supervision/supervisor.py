"""Keep processes running: start in order, restart with backoff and jitter, say how they are."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fedrisk.errors import FedriskError

#: Tells an event: its name, and facts.
Log = Callable[..., None]


class Runner(Protocol):
    """Starts and stops processes by name, such as those of `engines.processes`.

    A process that was told to stop ends within a bounded time, and each end is told once.
    """

    def start(self, name: str, argv: Sequence[str]) -> None: ...

    def stop(self, name: str) -> None: ...

    def take_exits(self) -> dict[str, int]: ...


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a process is started again.

    Attributes
    ----------
    first, largest : float
        Seconds before the first restart, and at most.
    stable : float
        A process that ran so many seconds starts anew without history.
    """

    first: float = 1.0
    largest: float = 60.0
    stable: float = 60.0

    def delay(self, failures: int, jitter: float) -> float:
        """Seconds before the restart after ``failures`` in a row.

        Parameters
        ----------
        failures : int
            At least 1.
        jitter : float
            In [0, 1): takes off up to half, so that sites do not come back all at once.

        >>> [Backoff().delay(n, 0.0) for n in (1, 2, 3, 9)]
        [1.0, 2.0, 4.0, 60.0]
        """
        whole = min(self.largest, self.first * 2.0 ** min(failures - 1, 30))
        return whole * (1.0 - jitter / 2.0)


@dataclass
class Service:
    """A process to keep running.

    Attributes
    ----------
    name : str
    argv : callable
        Gives the command line, anew for each start.
    ready : callable
        Whether the started process does its work.
    after : tuple of str
        Services that must be ready before this one starts.
    start_seconds : float
        A process that is not ready by then is ended and started again.
    allowed : callable
        Whether it may start; asked again at each tick.
    """

    name: str
    argv: Callable[[], Sequence[str]]
    ready: Callable[[], bool]
    after: tuple[str, ...] = ()
    start_seconds: float = 180.0
    allowed: Callable[[], bool] = lambda: True


@dataclass
class Condition:
    """How a service is: ``waiting``, ``starting``, ``running``.

    Times are the supervisor's clock: since when it is so, when its start is due, and from when its
    start counts as late.
    """

    state: str = "waiting"
    since: float = 0.0
    due: float = 0.0
    late_from: float = 0.0
    failures: int = 0
    restarts: int = 0
    last_exit: int | None = None
    asked_to_stop: bool = False


@dataclass
class Supervisor:
    """Runs services; call `tick` a few times a second.

    Attributes
    ----------
    services : sequence of Service
    runner : Runner
    log : callable
    clock : callable
        Monotonic seconds.
    chance : random.Random
        Draws the jitter.
    on_ready, on_exit : callable
        Called with a service's name.
    """

    services: Sequence[Service]
    runner: Runner
    log: Log
    clock: Callable[[], float]
    chance: random.Random
    backoff: Backoff = Backoff()
    on_ready: Callable[[str], None] = lambda _name: None
    on_exit: Callable[[str], None] = lambda _name: None
    conditions: dict[str, Condition] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.conditions = {service.name: Condition() for service in self.services}

    def tick(self) -> None:
        """Take exits, start what is due, notice what has become ready."""
        for name, code in self.runner.take_exits().items():
            if name in self.conditions:
                self._exited(name, code)
        for service in self.services:
            condition = self.conditions[service.name]
            if condition.state == "waiting":
                self._start_if_due(service, condition)
            elif condition.state == "starting":
                self._ready_or_late(service, condition)

    def restart(self, name: str) -> None:
        """End a service at once and start it again without delay."""
        condition = self.conditions[name]
        if condition.state != "waiting" and not condition.asked_to_stop:
            condition.asked_to_stop = True
            self.runner.stop(name)

    def all_running(self) -> bool:
        """Whether every service does its work."""
        return all(condition.state == "running" for condition in self.conditions.values())

    def report(self) -> dict[str, dict[str, Any]]:
        """State, seconds in it, restarts and last exit code of each service."""
        now = self.clock()
        return {
            name: {
                "state": condition.state,
                "seconds": round(now - condition.since, 1),
                "restarts": condition.restarts,
                "last_exit": condition.last_exit,
            }
            for name, condition in self.conditions.items()
        }

    def _exited(self, name: str, code: int) -> None:
        condition, now = self.conditions[name], self.clock()
        if condition.state == "waiting":
            return  # no start of ours: an end that was told twice
        condition.last_exit = code
        condition.restarts += 1
        if condition.asked_to_stop:
            condition.failures, condition.due = 0, now
        else:
            lasted = condition.state == "running" and now - condition.since > self.backoff.stable
            self._wait(condition, 1 if lasted else condition.failures + 1)
        condition.asked_to_stop = False
        condition.state, condition.since = "waiting", now
        self.log("exited", service=name, code=code, restart_in=round(condition.due - now, 2))
        self.on_exit(name)

    def _wait(self, condition: Condition, failures: int) -> None:
        condition.failures = failures
        condition.due = self.clock() + self.backoff.delay(failures, self.chance.random())

    def _start_if_due(self, service: Service, condition: Condition) -> None:
        now = self.clock()
        if now < condition.due:
            return
        if any(self.conditions[name].state != "running" for name in service.after):
            return
        if not service.allowed():
            return
        try:
            self.runner.start(service.name, service.argv())
        except (OSError, FedriskError) as error:  # a full disk, say: it may pass
            self._wait(condition, condition.failures + 1)
            self.log("cannot start", level="error", service=service.name, reason=str(error))
            return
        condition.state, condition.since, condition.late_from = "starting", now, now
        self.log("starting", service=service.name)

    def _ready_or_late(self, service: Service, condition: Condition) -> None:
        now = self.clock()
        if condition.asked_to_stop:
            return
        if service.ready():
            condition.state, seconds = "running", now - condition.since
            condition.since = now
            self.log("ready", service=service.name, seconds=round(seconds, 2))
            self.on_ready(service.name)
        elif now - condition.late_from > service.start_seconds:
            condition.late_from = now
            self.log("late", level="warning", service=service.name)
            self.runner.stop(service.name)
