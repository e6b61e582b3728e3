"""What `federation start` and `site start` have in common: one supervised set of processes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from fedrisk.durable import write_whole
from fedrisk.federation.engines.processes import Processes, flower_environment
from fedrisk.federation.figures.supervised import SupervisedFigures
from fedrisk.federation.resident.scripts import resident_command, write_scripts
from fedrisk.federation.supervision.supervisor import Backoff, Log, Service, Supervisor
from fedrisk.probes import LOOPBACK, Place, serve_probes

TICK_SECONDS = 0.2
#: Where a probe on this machine reaches what listens on every address.
_REACHABLE = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 compared only
#: A log that is larger is set aside as ``NAME.log.1``, in place of the one before.
LARGEST_LOG = 20 * 1024 * 1024
TRIM_SECONDS = 30.0
#: Bytes at the end of a log in which a process says why it ended.
LAST_WORDS = 16 * 1024
#: Seconds that work beside the processes has to end when they are stopped.
JOIN_SECONDS = 3.0


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    former = {
        number: signal.signal(number, lambda _number, _frame: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class Supervised(ABC):
    """One set of processes in one folder.

    Parameters
    ----------
    folder : Path
        Logs, Flower's home and the scripts go below it.
    base : mapping
        The environment to start processes with.
    resident : bool
        Fork Flower's commands from a resident process.
    log : callable
    """

    #: What its figures call it.
    service = "supervised"
    #: Between restarts of its services.
    backoff = Backoff()

    def __init__(self, folder: Path, base: Mapping[str, str], resident: bool, log: Log) -> None:
        self.folder = folder.resolve()
        self._log = log
        self._silent = False
        self._beside: list[threading.Thread] = []
        self._trim_at = 0.0
        self.resident = resident
        self.scripts = self.folder / "scripts"
        self.environment = flower_environment(base, self.folder / "flower", self.scripts)
        self.logs = self.folder / "logs"
        self.processes = Processes(self.environment, self.logs)
        self.supervisor: Supervisor | None = None
        self.offsets: dict[str, int] = {}
        #: How often the guardian of all processes was lost.
        self.losses = 0

    def log(self, event: str, **facts: Any) -> None:
        """Tell an event; after the end of `run` nothing is told any more."""
        if not self._silent:
            self._log(event, **facts)

    @abstractmethod
    def services(self) -> Sequence[Service]:
        """What to keep running, besides the resident process."""

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """What ``/ready`` tells beside the services."""

    def ready(self) -> bool:
        """Whether everything does its work."""
        supervisor = self.supervisor
        return supervisor is not None and supervisor.all_running()

    def on_ready(self, name: str) -> None:  # noqa: B027 most services need none
        """React to a service that has become ready."""

    def on_exit(self, name: str) -> None:  # noqa: B027 most services need none
        """React to a service's end."""

    def each_tick(self) -> None:  # noqa: B027 most services need none
        """React to what has changed on disk."""

    def run(self, stop: threading.Event, place: Place) -> None:
        """Keep everything running until ``stop``; then no process is left.

        Parameters
        ----------
        stop : threading.Event
        place : Place
            Where probes are answered, and figures told.

        Raises
        ------
        PortInUseError
            When the port for probes is taken.
        """
        losses = 0
        with serve_probes(place, self._report, self._registry()) as port:
            self.announce(port, place.host)
            try:
                while not stop.is_set():
                    begun = time.monotonic()
                    self._run_guarded(stop)
                    losses = 1 if time.monotonic() - begun > Backoff().stable else losses + 1
                    stop.wait(Backoff().delay(losses, 0.0) if losses > 1 else 0.0)
            finally:
                (self.folder / "running.json").unlink(missing_ok=True)
                self._end_beside()
        self._log("stopped")

    def beside(self, work: Callable[[], None]) -> threading.Thread:
        """Do something that takes long beside the supervision; not joined for long at the end."""
        self._beside = [thread for thread in self._beside if thread.is_alive()]
        thread = threading.Thread(target=work, daemon=True)
        self._beside.append(thread)
        thread.start()
        return thread

    def _end_beside(self) -> None:
        end = time.monotonic() + JOIN_SECONDS
        for thread in self._beside:
            thread.join(max(0.0, end - time.monotonic()))
        # A thread that is left must not write to a stream that the interpreter closes.
        self._silent = True

    def figures(self) -> Sequence[Collector]:
        """Figures beside those of every supervised set of processes."""
        return ()

    def _registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        common = SupervisedFigures(self.service, self.ready, self._children, lambda: self.losses)
        for collector in (common, *self.figures()):
            registry.register(collector)
        return registry

    def _children(self) -> dict[str, dict[str, Any]]:
        supervisor = self.supervisor
        return supervisor.report() if supervisor else {}

    def announce(self, health_port: int, health_listen: str = LOOPBACK) -> None:
        """Say where probes are answered, on the log and in ``running.json``."""
        host = reachable(health_listen)
        address = (
            f"http://[{host}]:{health_port}" if ":" in host else f"http://{host}:{health_port}"
        )
        write_whole(self.folder / "running.json", json.dumps({"health": address}) + "\n")
        self.log("started", health=f"{address}/ready", folder=str(self.folder))

    def _run_guarded(self, stop: threading.Event) -> None:
        self.processes = Processes(self.environment, self.logs)
        # A guardian that was killed also takes the pipe to it, wherever that is noticed first.
        with suppress(BrokenPipeError), self.processes:
            place = Path(self.processes.private) / "resident" if self.resident else None
            write_scripts(self.scripts, place)
            self.supervisor = self._make_supervisor(place)
            try:
                while self.processes.guarded():
                    if stop.wait(TICK_SECONDS):
                        self.log("stopping")
                        return
                    self.supervisor.tick()
                    self.each_tick()
                    self._trim_logs()
            finally:
                self.supervisor = None
        self.losses += 1
        self.log("guardian lost", level="error")

    def _make_supervisor(self, place: Path | None) -> Supervisor:
        return Supervisor(
            self._all_services(place),
            self.processes,
            self.log,
            time.monotonic,
            random.Random(),  # noqa: S311 jitter keeps no secret
            self.backoff,
            self.on_ready,
            self.on_exit,
        )

    def _all_services(self, place: Path | None) -> list[Service]:
        services = list(self.services())
        if place is None:
            return services
        for service in services:
            service.after = ("resident", *service.after)
        command = self.started("resident", lambda: resident_command(place))
        # A socket that a killed process left is there, but nobody accepts.
        return [Service("resident", command, lambda: accepts(place)), *services]

    def started(self, name: str, argv: Callable[[], Sequence[str]]) -> Callable[[], Sequence[str]]:
        """Give the command line, and note where the log of this start begins."""

        def noted() -> Sequence[str]:
            log = self.logs / f"{name}.log"
            self._trim(log)
            self.offsets[name] = log.stat().st_size if log.exists() else 0
            return argv()

        return noted

    def _trim_logs(self) -> None:
        if time.monotonic() < self._trim_at:
            return
        self._trim_at = time.monotonic() + TRIM_SECONDS
        for log in self.logs.glob("*.log"):
            self._trim(log)

    def _trim(self, log: Path) -> None:
        """Set a large log aside; processes write on at its end, which is its beginning then."""
        with suppress(OSError):
            if log.exists() and log.stat().st_size > LARGEST_LOG:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)
                self.offsets[log.stem] = 0

    def said(self, name: str) -> str:
        """What a service has written since its last start."""
        try:
            with (self.logs / f"{name}.log").open("rb") as log:
                log.seek(self.offsets.get(name, 0))
                return log.read(1 << 20).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def last_words(self, name: str) -> str:
        """The end of what a service has written since its last start."""
        try:
            with (self.logs / f"{name}.log").open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self.offsets.get(name, 0), size - LAST_WORDS))
                return log.read(LAST_WORDS).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _report(self) -> tuple[bool, dict[str, Any]]:
        return self.ready(), {"services": self._children()} | self.details()


def reachable(listen: str) -> str:
    """Where this machine reaches what listens there, on every address perhaps.

    >>> reachable("0.0.0.0"), reachable("10.0.0.5")
    ('127.0.0.1', '10.0.0.5')
    """
    return _REACHABLE.get(listen, listen)


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


def accepts(place: Path) -> bool:
    """Whether a process accepts connections at a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(place))
        except OSError:
            return False
        return True
