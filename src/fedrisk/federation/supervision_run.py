"""What `federation start` and `site start` have in common: one supervised set of processes."""

from __future__ import annotations

import json
import random
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedrisk.federation.engines.processes import Processes, flower_environment
from fedrisk.federation.health import serve_health
from fedrisk.federation.provisioning.documents import write_whole
from fedrisk.federation.resident.scripts import resident_command, write_scripts
from fedrisk.federation.supervision import Backoff, Log, Service, Supervisor

TICK_SECONDS = 0.2
#: A log that is larger when its process starts is set aside as ``NAME.log.1``.
LARGEST_LOG = 20 * 1024 * 1024


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

    def __init__(self, folder: Path, base: Mapping[str, str], resident: bool, log: Log) -> None:
        self.folder = folder.resolve()
        self.log = log
        self.resident = resident
        self.scripts = self.folder / "scripts"
        self.environment = flower_environment(base, self.folder / "flower", self.scripts)
        self.logs = self.folder / "logs"
        self.processes = Processes(self.environment, self.logs)
        self.supervisor: Supervisor | None = None
        self.offsets: dict[str, int] = {}

    @abstractmethod
    def services(self) -> Sequence[Service]:
        """What to keep running, besides the resident process."""

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """What ``/ready`` tells beside the services."""

    def ready(self) -> bool:
        """Whether everything does its work."""
        return self.supervisor is not None and self.supervisor.all_running()

    def on_ready(self, name: str) -> None:  # noqa: B027 most services need none
        """React to a service that has become ready."""

    def on_exit(self, name: str) -> None:  # noqa: B027 most services need none
        """React to a service's end."""

    def each_tick(self) -> None:  # noqa: B027 most services need none
        """React to what has changed on disk."""

    def run(self, stop: threading.Event, health_port: int) -> None:
        """Keep everything running until ``stop``; then no process is left."""
        with serve_health(health_port, self._report) as port:
            self.announce(port)
            try:
                while not stop.is_set():
                    self._run_guarded(stop)
            finally:
                (self.folder / "running.json").unlink(missing_ok=True)
        self.log("stopped")

    def announce(self, health_port: int) -> None:
        """Say where probes are answered, on the log and in ``running.json``."""
        address = f"http://127.0.0.1:{health_port}"
        write_whole(self.folder / "running.json", json.dumps({"health": address}) + "\n")
        self.log("started", health=f"{address}/ready", folder=str(self.folder))

    def _run_guarded(self, stop: threading.Event) -> None:
        self.processes = Processes(self.environment, self.logs)
        with self.processes:
            place = Path(self.processes.private) / "resident" if self.resident else None
            write_scripts(self.scripts, place)
            self.supervisor = Supervisor(
                self._all_services(place),
                self.processes,
                self.log,
                time.monotonic,
                random.Random(),  # noqa: S311 jitter keeps no secret
                Backoff(),
                self.on_ready,
                self.on_exit,
            )
            while not stop.wait(TICK_SECONDS):
                if not self.processes.guarded():
                    self.log("guardian lost", level="error")
                    return
                self.supervisor.tick()
                self.each_tick()
            self.log("stopping")

    def _all_services(self, place: Path | None) -> list[Service]:
        services = list(self.services())
        if place is None:
            return services
        for service in services:
            service.after = ("resident", *service.after)
        first = Service("resident", lambda: resident_command(place), place.exists)
        return [first, *services]

    def started(self, name: str, argv: Callable[[], Sequence[str]]) -> Callable[[], Sequence[str]]:
        """Give the command line, and note where the log of this start begins."""

        def noted() -> Sequence[str]:
            log = self.logs / f"{name}.log"
            if log.exists() and log.stat().st_size > LARGEST_LOG:
                log.replace(log.with_suffix(".log.1"))
            self.offsets[name] = log.stat().st_size if log.exists() else 0
            return argv()

        return noted

    def said(self, name: str) -> str:
        """What a service has written since its last start."""
        try:
            with (self.logs / f"{name}.log").open("rb") as log:
                log.seek(self.offsets.get(name, 0))
                return log.read(1 << 20).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _report(self) -> tuple[bool, dict[str, Any]]:
        services = self.supervisor.report() if self.supervisor else {}
        return self.ready(), {"services": services} | self.details()


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False
