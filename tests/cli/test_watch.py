"""`fedrisk watch` as a process: it says what comes next, is alone, and ends when told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest
from running import environment, wait_until

from fedrisk.cli.watch import Arguments, Watching
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.home import Home
from fedrisk.retraining.asked_studies import keep_study
from fedrisk.retraining.commands import Commands
from fedrisk.settings import Settings

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
        [*WATCH, *words],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=300,
    )
    assert done.returncode not in (0, 1)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_watches_alone_until_it_is_told_to_end(words: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen([*WATCH, *words], stderr=output, env=environment())
        try:
            assert wait_until(lambda: "watching model clinic" in log.read_text(), 300)
            assert "watch.lock" in refused(*words)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 128 + signal.SIGTERM
    assert "next: drift" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_what_does_not_fit_is_refused_at_once(words: list[str], tmp_path: Path) -> None:
    home = words[:2]
    assert "no site is named" in refused(*home)
    assert "takes --federation" in refused(*home, "--engine", "deployed")
    assert "no cron expression" in refused(*words, "--drift", "often")
    assert "needs --metrics-port" in refused(*words, "--operations")
    assert "without a token" in refused(*words, "--metrics-host", "0.0.0.0", "--metrics-port", "0")
    Path(home[1], "alerts.toml").write_text("colour = 1")
    assert "alerts.toml" in refused(*words)


def watching(home: Home, **settings: str) -> Watching:
    """A watch whose command line is empty."""
    arguments = Arguments(**dict.fromkeys(field.name for field in fields(Arguments)))
    known, end = Settings(home=home.root, **settings), threading.Event()
    return Watching(home, known, arguments, Commands(60.0), lambda *_: None, None, end)


def test_what_is_too_old_to_be_kept_goes(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    study = keep_study(home, "asked", "")
    os.utime(study, (0, 0))
    watching(home)._tidy(datetime.now(UTC))
    assert not study.exists()


def test_an_alertmanager_is_told_everything_unless_people_said_who_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    assert watching(home).rules().channels == ()
    watch = watching(home, alertmanager="http://alertmanager:9093")
    (channel,) = watch.rules().channels
    assert (channel.kind, channel.least) == ("alertmanager", "low")
    assert channel.address() == "http://alertmanager:9093"
    home.alerts.write_text('[[responsible]]\nowner = "team"\n')
    assert watch.rules().responsible[0].owner == "team"
    assert len(watch.rules().channels) == 1
    home.alerts.write_text('[[channels]]\nurl = "json://pager"\n')
    (channel,) = watch.rules().channels
    assert channel.address() == "json://pager"


def trigger(*words: str) -> subprocess.CompletedProcess[str]:
    """`fedrisk trigger` as a scheduler's job runs it."""
    command = [sys.executable, "-m", "fedrisk", "trigger", *words]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(), check=False, timeout=300
    )


@pytest.mark.slow
def test_what_is_asked_is_done_before_and_after_the_first_model_and_over_a_kill(
    tmp_path: Path,
) -> None:
    """A watch beside a fresh federation, in whose home it is, and a kill in the middle."""
    fed = tmp_path / "fed"
    federation = Federation.create(fed, new_settings(["127.0.0.1"], 9), datetime.now(UTC))
    token = tmp_path / "token"
    token.write_text("a secret")
    (port,) = free_ports(1)
    words = ["--engine", "deployed", "--federation", str(fed), "--drift", "never"]
    served = ["--metrics-port", str(port), "--operations", "--operations-token-file", str(token)]
    at = ["--at", f"http://127.0.0.1:{port}", "--token-file", str(token), "--json"]

    def lives() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def watching() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*WATCH, *words, *served], env=environment())
        assert wait_until(lives, 120)
        return process

    process = watching()
    try:
        early = trigger("drift", *at)
        assert (early.returncode, "no champion yet" in early.stdout) == (8, True)
        bad = tmp_path / "other"
        bad.write_text("guessed")
        other = ["--at", at[1], "--token-file", str(bad)]
        assert trigger("drift", *other).returncode == 12
        process.kill()
        process.wait()
        # Asked of nobody: the asker waits until the watch is there again.
        asking = subprocess.Popen(
            [sys.executable, "-m", "fedrisk", "trigger", "drift", *at, "--id", "mine"],
            stdout=subprocess.PIPE,
            env=environment(),
        )
        store(Home(federation.home))
        process = watching()
        out, _ = asking.communicate(timeout=300)
        # The command itself says why it cannot look.
        found = json.loads(out)
        assert (found["id"], found["state"], found["begun"]) == ("mine", "ended", 1)
        assert asking.returncode == found["code"] == 2
        assert "no site yet" in found["answer"]["error"]
        again = trigger("drift", *at, "--id", "mine")
        assert json.loads(again.stdout) == found
    finally:
        process.terminate()
        process.wait(60)
