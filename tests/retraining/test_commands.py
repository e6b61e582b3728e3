"""The watch's commands: what they tell is passed on, and none outlives the watch or hangs it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fedrisk.retraining.commands import KEPT_LINES, Commands


def test_a_command_ends_with_the_watch() -> None:
    commands = Commands(60.0)
    with commands:
        commands._running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
        running, began = commands._running, time.monotonic()
    assert running.returncode == -signal.SIGTERM
    assert time.monotonic() - began < 20


TELLS = """
import sys
for number in range(100):
    print("line", number, file=sys.stderr)
print('{"verdict": "stable"}')
sys.exit(3)
"""


def test_its_last_lines_are_kept_and_all_are_passed_on() -> None:
    log = io.StringIO()
    commands = Commands(60.0, program=(sys.executable, "-c", TELLS), log=log)
    with commands:
        done = commands.run(())
    assert (done.code, done.answer, done.told) == (3, {"verdict": "stable"}, 100)
    assert done.lines == tuple(f"line {number}" for number in range(100 - KEPT_LINES, 100))
    assert log.getvalue().count("\n") == 100
    assert commands.told() == (done.lines, 100)


HANGS = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print('{"left": %d}' % left.pid, file=sys.stderr, flush=True)
time.sleep(99)
"""


def test_a_command_that_hangs_is_ended_whatever_it_leaves_running(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = io.StringIO()
    commands = Commands(5.0, 0.2, (sys.executable, "-c", HANGS), log)
    with commands:
        done = commands.run(("retrain",))
        # It still runs: nobody waited for it.
        os.kill(json.loads(log.getvalue())["left"], signal.SIGKILL)
        assert done.code == -signal.SIGKILL
        assert "had not ended" in done.error
        assert Commands(60.0, program=(sys.executable, "-c", "print('{}')")).run(()).answer == {}
