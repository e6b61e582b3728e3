"""The watch over HTTP: who may read figures, who may ask for operations, and what they get."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from fedrisk.errors import UsageError
from fedrisk.retraining import watch_server
from fedrisk.retraining.operation_store import OperationStore
from fedrisk.retraining.watch_figures import WatchFigures
from fedrisk.retraining.watch_server import Desk, Tokens, serve_watch

NOW = datetime(2026, 1, 5, 7, tzinfo=UTC)


@pytest.fixture
def figures() -> WatchFigures:
    return WatchFigures(lambda: NOW)


@pytest.fixture
def files(tmp_path: Path) -> Tokens:
    (tmp_path / "scraping").write_text("to read\n")
    (tmp_path / "operating").write_text("to operate\n")
    return Tokens(tmp_path / "scraping", tmp_path / "operating")


def ask(url: str, token: str = "", body: bytes | None = None) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(url, body, headers), timeout=10) as answer:
            return int(answer.status), answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def test_figures_want_a_token_and_health_none(figures: WatchFigures, files: Tokens) -> None:
    with serve_watch(figures.registry, "127.0.0.1", 0, files) as port:
        address = f"http://127.0.0.1:{port}"
        assert ask(f"{address}/health") == (200, b"live\n")
        for token in ("to read", "to operate"):
            status, body = ask(f"{address}/metrics", token)
            assert (status, b"drift_severity" in body) == (200, True)
        assert [ask(f"{address}/metrics", token)[0] for token in ("", "other")] == [401, 401]
        assert ask(f"{address}/other", "to read")[0] == 404
        # Nobody can ask a watch that takes no operations.
        assert ask(f"{address}/operations", "to operate")[0] == 404
        assert files.scraping is not None
        files.scraping.write_text("to read\nanother\n")
        assert [ask(f"{address}/metrics", each)[0] for each in ("to read", "another")] == [200, 200]
        files.scraping.write_text("another")
        assert ask(f"{address}/metrics", "to read")[0] == 401
        assert ask(f"{address}/metrics", "another")[0] == 200
        files.scraping.write_text("")
        assert ask(f"{address}/metrics", "")[0] == 401


def test_one_who_does_not_wait_for_the_answer_is_no_error(
    figures: WatchFigures,
    files: Tokens,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As a scrape is, that takes longer than Prometheus waits."""
    left, tried = threading.Event(), threading.Event()

    def slow(_: object) -> bytes:
        left.wait(10)
        return b"x" * 10_000_000

    def ended(server: ThreadingHTTPServer, request: Any) -> None:
        ThreadingHTTPServer.shutdown_request(server, request)
        tried.set()

    monkeypatch.setattr(watch_server, "generate_latest", slow)
    monkeypatch.setattr(watch_server._Server, "shutdown_request", ended)
    with serve_watch(figures.registry, "127.0.0.1", 0, files) as port:
        asking = socket.create_connection(("127.0.0.1", port), timeout=10)
        asking.sendall(b"GET /metrics HTTP/1.0\r\nAuthorization: Bearer to read\r\n\r\n")
        # Closed with a reset at once, as by one who is gone.
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        asking.close()
        left.set()
        assert tried.wait(10)
    assert capsys.readouterr().err == ""


def test_without_a_token_it_stays_on_loopback(figures: WatchFigures, tmp_path: Path) -> None:
    for host, told in (("0.0.0.0", "without a token"), ("nowhere", "no address")):
        with pytest.raises(UsageError, match=told), serve_watch(figures.registry, host, 0):
            pass
    (tmp_path / "empty").write_text(" \n")
    empty = Tokens(tmp_path / "empty")
    with (
        pytest.raises(UsageError, match="holds no token"),
        serve_watch(figures.registry, "0.0.0.0", 0, empty),
    ):
        pass
    with serve_watch(figures.registry, "localhost", 0) as port:
        assert ask(f"http://127.0.0.1:{port}/metrics")[0] == 200


class Asked:
    """A running server of operations."""

    def __init__(self, url: str, store: OperationStore) -> None:
        self.url, self.store, self.woken = url, store, 0

    def post(self, document: object, token: str = "to operate") -> tuple[int, dict[str, object]]:
        status, body = ask(self.url, token, json.dumps(document).encode())
        return status, json.loads(body)


@pytest.fixture
def asked(figures: WatchFigures, files: Tokens, tmp_path: Path) -> Iterator[Asked]:
    store = OperationStore(f"sqlite:///{tmp_path / 'state.db'}", most_queued=2)
    made = Asked("", store)

    def wake() -> None:
        made.woken += 1

    desk = Desk(store, lambda: NOW, wake, lambda: (("fitting",), 7))
    with serve_watch(figures.registry, "127.0.0.1", 0, files, desk) as port:
        made.url = f"http://127.0.0.1:{port}/operations"
        yield made
    store.close()


def test_what_is_asked_is_kept_told_and_followed(asked: Asked) -> None:
    status, taken = asked.post({"command": "drift", "id": "mine"})
    assert (status, taken["state"], asked.woken) == (202, "queued", 1)
    assert asked.post({"command": "drift", "id": "mine"})[1] == taken
    assert asked.store.take(NOW) is not None
    found = json.loads(ask(f"{asked.url}/mine", "to operate")[1])
    assert (found["state"], found["lines"], found["told"]) == ("running", ["fitting"], 7)
    listed = json.loads(ask(asked.url, "to operate")[1])
    assert [each["id"] for each in listed["operations"]] == ["mine"]
    assert ask(f"{asked.url}/other", "to operate")[0] == 404


def test_only_an_operator_may_ask(asked: Asked) -> None:
    for token in ("", "to read", "guessed"):
        assert ask(asked.url, token, b'{"command": "drift"}')[0] == 401
        assert ask(f"{asked.url}/mine", token)[0] == 401
    assert asked.store.listed() == []


def test_what_cannot_be_taken_says_why(asked: Asked) -> None:
    assert asked.post({"command": "up"})[0] == 400
    asked.post({"command": "drift", "id": "a"})
    assert asked.post({"command": "retrain", "trigger": "manual", "id": "a"})[0] == 409
    asked.post({"command": "drift", "id": "b"})
    assert asked.post({"command": "drift", "id": "c"})[0] == 429
    assert ask(asked.url, "to operate", b"x" * 1_200_000)[0] == 413
    assert ask(f"{asked.url}/a", "to operate", b"{}")[0] == 404
