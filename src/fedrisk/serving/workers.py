"""Several serving processes behind one socket: started, restarted when they die, ended together.

Workers share nothing but the listening socket and the model's files. Their figures for Prometheus
are memory-mapped files in one folder, which any worker adds up when it is asked.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from fedrisk.home import Home
from fedrisk.serving.process import COMMAND

#: Read by prometheus_client when it is imported.
FIGURES = "PROMETHEUS_MULTIPROC_DIR"
#: A worker that ends sooner than this after its start is started again only after a pause.
STABLE_SECONDS = 5.0
PAUSE_SECONDS = 1.0
LOOK_SECONDS = 0.1


@dataclass
class Workers:
    """Serving processes of one socket.

    Parameters
    ----------
    home : Home
    opened : socket.socket
        Listening already.
    count : int
    environment : mapping
        To start workers with.
    say : callable
        Told a line about each worker that ended.
    grace : float
        Seconds that workers have to end; whoever is left then is killed.
    options : tuple of str
        Of `fedrisk serve`, for every worker.
    held : tuple of socket.socket
        Further sockets that workers get.
    """

    home: Home
    opened: socket.socket
    count: int
    environment: Mapping[str, str]
    say: Callable[[str], None]
    grace: float = 30.0
    options: tuple[str, ...] = ()
    held: tuple[socket.socket, ...] = ()
    _processes: dict[int, tuple[subprocess.Popen[bytes], float]] = field(default_factory=dict)
    _stopping: list[int] = field(default_factory=list)

    @property
    def figures(self) -> Path:
        """Where the workers' figures are."""
        return self.home.serving / f"figures-{os.getpid()}"

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, then end the workers; 0 when all ended well."""
        shutil.rmtree(self.figures, ignore_errors=True)
        self.figures.mkdir(parents=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            while not self._stopping:
                self._fill()
                time.sleep(LOOK_SECONDS)
                self._reap()
            return self._end()
        finally:
            for process, _ in self._processes.values():
                process.kill()
                process.wait()
            shutil.rmtree(self.figures, ignore_errors=True)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._stopping.append(number)

    def _fill(self) -> None:
        for place in range(self.count):
            if place not in self._processes:
                self._processes[place] = (self._start(place), time.monotonic())

    def _start(self, place: int) -> subprocess.Popen[bytes]:
        handle = self.opened.fileno()
        command = [sys.executable, "-c", COMMAND, "serve", "--home", str(self.home.root)]
        return subprocess.Popen(  # noqa: S603 our own command
            [*command, "--socket", str(handle), "--until-input-closes", *self.options],
            stdin=subprocess.PIPE,
            pass_fds=[handle, *(each.fileno() for each in self.held)],
            env={**self.environment, FIGURES: str(self.figures), "FEDRISK_WORKER": str(place)},
            start_new_session=True,
        )

    def _reap(self) -> None:
        for place, (process, started) in list(self._processes.items()):
            if process.poll() is None:
                continue
            self.say(f"worker {process.pid} ended with code {process.returncode}; another starts")
            forget(self.figures, process.pid)
            if time.monotonic() - started < STABLE_SECONDS:
                time.sleep(PAUSE_SECONDS)
            del self._processes[place]

    def _end(self) -> int:
        for process, _ in self._processes.values():
            process.terminate()
        end = time.monotonic() + self.grace
        codes = []
        for process, _ in self._processes.values():
            try:
                codes.append(process.wait(max(0.0, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(process.wait())
        # A worker that had not started yet ends by the signal itself, or as any command does by it.
        well = (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        return int(any(code not in well for code in codes))


def forget(figures: Path, process: int) -> None:
    """Drop what only a living worker can tell; its counters stay and go on counting.

    A file that the process had opened and not yet filled would keep all others from being read.
    """
    for file in figures.glob(f"*_{process}.db"):
        if file.name.startswith("gauge_live") or not file.stat().st_size:
            file.unlink(missing_ok=True)
