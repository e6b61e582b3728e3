"""Whoever asks a watch is told how it ended, over a restart of the watch too."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fedrisk.errors import (
    CredentialsError,
    OverloadedError,
    RetrainingError,
    ServiceAwayError,
    UsageError,
)
from fedrisk.retraining.asking import GOES_ON, Watched, operation_code


def operation(
    state: str, command: str = "drift", /, code: int = 0, **answer: Any
) -> dict[str, Any]:
    return {"id": "a", "command": command, "state": state, "code": code, "answer": answer or None}


class Time:
    """Seconds that pass while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


class Fake:
    """A watch that answers what a test says, one after the other; the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, str, bytes]] = []

    def says(self, *answers: tuple[int, Any]) -> None:
        self.answers = [
            (status, found if isinstance(found, bytes) else json.dumps(found).encode())
            for status, found in answers
        ]


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def watch(fake: Fake, time: Time, tmp_path: Path) -> Iterator[Watched]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fake.asked.append((self.path, self.headers["Authorization"], body))
            status, answer = fake.answers.pop(0) if len(fake.answers) > 1 else fake.answers[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "token").write_text("secret\n")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        yield Watched(url, tmp_path / "token", time.sleep, time.clock)
        server.shutdown()
        thread.join()


def test_it_is_asked_again_until_it_takes_the_same_operation(watch: Watched, fake: Fake) -> None:
    fake.says((502, b"<html>"), (429, {"error": "full"}), (202, operation("queued")))
    wanted = {"command": "drift", "id": "a"}
    assert watch.ask(wanted)["state"] == "queued"
    expected = ("/operations", "Bearer secret", json.dumps(wanted).encode())
    assert fake.asked == [expected] * 3


def test_patience_ends(watch: Watched, fake: Fake, time: Time, tmp_path: Path) -> None:
    fake.says((429, {"error": "full"}))
    with pytest.raises(OverloadedError, match="full"):
        watch.ask({}, 10)
    assert 8 <= time.now <= 10
    away = Watched("http://127.0.0.1:9", tmp_path / "token", time.sleep, time.clock)
    for question in (lambda: away.ask({}, 10), lambda: away.follow("a", 10, print)):
        with pytest.raises(ServiceAwayError, match="does not answer"):
            question()


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, UsageError), (401, CredentialsError), (404, RetrainingError), (409, RetrainingError)],
)
def test_what_it_does_not_take_is_not_asked_again(
    watch: Watched, fake: Fake, status: int, error: type[Exception]
) -> None:
    fake.says((status, {"error": "why", "hint": "do"}))
    with pytest.raises(error, match="why"):
        watch.ask({})
    assert len(fake.asked) == 1


def test_a_watch_that_is_started_again_is_waited_for(watch: Watched, fake: Fake) -> None:
    told: list[str] = []
    fake.says(
        (200, operation("running")),
        (503, b""),
        (200, operation("queued")),
        (200, operation("ended")),
    )
    found = watch.follow("a", 100, lambda each: told.append(each["state"]))
    assert (found["state"], told) == ("ended", ["running", "queued", "ended"])


def test_it_is_followed_no_longer_than_somebody_wants(watch: Watched, fake: Fake) -> None:
    fake.says((200, operation("running")))
    found = watch.follow("a", 10, lambda _: None)
    assert operation_code(found) == GOES_ON


@pytest.mark.parametrize("state", ["awaiting approval", "promoted"])
def test_nobody_stays_for_a_person_s_answer_or_for_weeks_of_labels(
    watch: Watched, fake: Fake, state: str
) -> None:
    trial = operation("waiting", "retrain", id="l", state="shadow")
    verdict = operation("waiting", "retrain", id="l", state=state)
    fake.says((200, trial), (200, verdict))
    assert watch.follow("a", 1e9, lambda _: None)["answer"]["state"] == state


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (operation("queued"), 24),
        (operation("ended", code=6, error="no site"), 6),
        (operation("ended", code=-9), 1),
        (operation("ended", verdict="harm"), 0),
        (operation("ended", "train", model_version="1"), 0),
        (operation("waiting", "retrain", state="shadow"), 21),
        (operation("waiting", "retrain", state="awaiting approval"), 21),
        (operation("waiting", "retrain", state="promoted"), 0),
        (operation("ended", "retrain", state="done"), 0),
        (operation("ended", "retrain", state="refused"), 22),
        (operation("ended", "retrain", state="abandoned"), 23),
        (operation("ended", "retrain", state="returned"), 23),
    ],
)
def test_exit_codes_tell(found: dict[str, Any], code: int) -> None:
    assert operation_code(found) == code


@pytest.mark.parametrize(("verdict", "code"), [("harm", 20), ("quality", 20), ("stable", 0)])
def test_a_verdict_counts_where_that_is_wanted(verdict: str, code: int) -> None:
    assert operation_code(operation("ended", verdict=verdict), drift_counts=True) == code


def test_an_address_is_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Watched("federated-server:9102", tmp_path / "token")
    with pytest.raises(UsageError, match="cannot be read"):
        Watched("http://127.0.0.1:9", tmp_path / "none").ask({})


def test_asking_loads_nothing_heavy() -> None:
    code = "import sys, fedrisk.cli.trigger, fedrisk.retraining.asking as _; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"sqlalchemy", "numpy", "pydantic", "mlflow", "flwr", "prometheus_client"}
    assert not {name.partition(".")[0] for name in done.stdout.split()} & heavy
