"""The owner's side of its processes: however the guardian ends, the owner goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedrisk.federation.engines import processes as module
from fedrisk.federation.engines.processes import Processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sends signals to the guardian")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    owned = Processes(os.environ, tmp_path / "logs")
    yield owned
    if owned._guardian is not None:
        owned._guardian.kill()


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_exits_are_told_once_and_nothing_stays_open(processes: Processes) -> None:
    with processes:
        processes.start("short", [sys.executable, "-S", "-c", "raise SystemExit(3)"])
        assert wait_until(lambda: processes.exited)
        assert (processes.take_exits(), processes.take_exits()) == ({"short": 3}, {})
    guardian = processes._guardian
    assert guardian is not None
    assert guardian.stdin.closed
    assert wait_until(lambda: guardian.stdout.closed), "a pipe is left for each run"


def test_a_killed_guardian_ends_nothing_here(processes: Processes) -> None:
    """What it was to be told is still in the pipe's buffer when the pipe is closed."""
    with processes:
        guardian = processes._guardian
        assert guardian is not None
        guardian.kill()
        guardian.wait(20)
        assert not processes.guarded()
        with pytest.raises(BrokenPipeError):
            processes.start("late", ["true"])
    assert guardian.stdin.closed
    assert not Path(processes.private).exists()


def test_a_guardian_that_hangs_is_killed(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)
    monkeypatch.setattr(module, "SIGNAL_SECONDS", 0.2)
    with processes:
        guardian = processes._guardian
        assert guardian is not None
        guardian.send_signal(signal.SIGSTOP)
    assert guardian.wait(20) == -signal.SIGKILL
