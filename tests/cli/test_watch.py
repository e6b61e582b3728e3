"""`fedrisk watch` as a process: it says what comes next, is alone, and ends when told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import environment, wait_until

from fedrisk.cli.watch import Commands
from fedrisk.home import Home

from ..serving.conftest import store

WATCH = [sys.executable, "-m", "fedrisk", "watch"]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    home = Home(tmp_path / "home").prepare()
    store(home)
    (tmp_path / "rows.csv").write_text("age\n")
    return ["--home", str(home.root), "--site", f"north={tmp_path / 'rows.csv'}"]


def refused(*words: str) -> str:
    done = subprocess.run(
        [*WATCH, *words], capture_output=True, text=True, env=environment(), check=False, timeout=60
    )
    assert done.returncode not in (0, 1)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_watches_alone_until_it_is_told_to_end(words: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen([*WATCH, *words], stderr=output, env=environment())
        try:
            assert wait_until(lambda: "watching model clinic" in log.read_text(), 60)
            assert "watch.lock" in refused(*words)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert "next: drift" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_what_does_not_fit_is_refused_at_once(words: list[str], tmp_path: Path) -> None:
    home = words[:2]
    assert "no site is named" in refused(*home)
    assert "takes --federation" in refused(*home, "--engine", "deployed")
    assert "no cron expression" in refused(*words, "--drift", "often")
    assert "without a token" in refused(*words, "--metrics-host", "0.0.0.0", "--metrics-port", "0")
    Path(home[1], "alerts.toml").write_text("colour = 1")
    assert "alerts.toml" in refused(*words)


def test_a_command_ends_with_the_watch(tmp_path: Path) -> None:
    commands = Commands(60.0)
    with commands:
        done = commands.run(("models", "--home", str(tmp_path / "nowhere"), "--json"))
        assert done.code == 5
        assert "is not a fedrisk home" in done.error
        commands._running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
        running, began = commands._running, time.monotonic()
    assert running.returncode == -signal.SIGTERM
    assert time.monotonic() - began < 20


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
    commands = Commands(2.0, 0.2, (sys.executable, "-c", HANGS))
    with commands:
        done = commands.run(("retrain",))
        # It still runs: nobody waited for it.
        os.kill(json.loads(capfd.readouterr().err)["left"], signal.SIGKILL)
        assert done.code == -signal.SIGKILL
        assert "had not ended" in done.error
        assert Commands(60.0, program=(sys.executable, "-c", "print('{}')")).run(()).answer == {}
