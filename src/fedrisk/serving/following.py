"""The follower as a child of a server: started, restarted when it dies, ended with the server.

It imports MLflow, which serving processes must not. It ends when its standard input closes, so
that it is gone with the server in whatever way that ends.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fedrisk.home import Home
from fedrisk.registry.follower_status import STATES, read_status
from fedrisk.serving.process import COMMAND
from fedrisk.settings import process_environment

#: Seconds before a follower that ended is started again.
PAUSE_SECONDS = 2.0
LOOK_SECONDS = 0.2
#: Seconds that it has to end; nothing that it does must be finished.
GRACE = 5.0


@contextmanager
def following(
    home: Home, registry: str | None, every: float | None, say: Callable[[str], None]
) -> Iterator[None]:
    """Let a child follow the registry while the body runs; ``every`` of None follows nothing."""
    if every is None:
        yield
        return
    command = ["models", "follow", "--home", str(home.root), "--every", str(every)]
    if registry is not None:
        command += ["--registry", registry]
    supervisor = Supervisor([*command, "--until-input-closes"], say)
    thread = threading.Thread(target=supervisor.run, name="follower", daemon=True)
    thread.start()
    try:
        yield
    finally:
        supervisor.ended.set()
        thread.join(2 * GRACE)


@dataclass
class Supervisor:
    """Keeps one command of ours running.

    Parameters
    ----------
    arguments : list of str
    say : callable
        Told when it ended by itself.
    pause : float
        Seconds before it is started again.
    """

    arguments: list[str]
    say: Callable[[str], None]
    pause: float = PAUSE_SECONDS
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Start, and start again, until `ended` is set."""
        while not self.ended.is_set():
            process = self._start()
            while process.poll() is None and not self.ended.wait(LOOK_SECONDS):
                pass
            _end(process)
            if self.ended.is_set():
                return
            self.say(f"the follower ended with code {process.returncode}; another starts")
            self.ended.wait(self.pause)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 our own command
            [sys.executable, "-c", COMMAND, *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=process_environment(),
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class FollowerFigures(Collector):
    """What the follower saw last, for Prometheus; nothing where nothing follows."""

    def __init__(self, status_file: Path) -> None:
        self._status_file = status_file

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the status at each scrape: all workers tell the same."""
        status = read_status(self._status_file)
        if status is None:
            return
        states = GaugeMetricFamily(
            "registry_follower_state", "1 for what the follower saw last.", labels=["state"]
        )
        for state in STATES:
            states.add_metric([state], float(state == status.state))
        yield states
        seen = GaugeMetricFamily(
            "registry_follower_timestamp_seconds",
            "When the follower looked last, in seconds since 1970.",
        )
        seen.add_metric([], datetime.fromisoformat(status.at).timestamp())
        yield seen
