"""Callers that are slow, greedy or gone, over real sockets, beside one that behaves."""

from __future__ import annotations

import asyncio
import http.client
import json
import resource
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedrisk.home import Home
from fedrisk.serving.process import ServerProcess, start_server
from fedrisk.serving.time_limits import (
    LATE,
    OTHER_FILES,
    PROGRESS,
    Connection,
    Stage,
    TimeLimits,
    room_for,
)

from .conftest import ROW, store, until

BODY = json.dumps(ROW).encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
FLOOD, ROOM = 2_000, 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    home = Home(folder / "home").prepare()
    store(home)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HEAD", "BODY", "ANSWER", "IDLE"):
            patch.setenv(f"FEDRISK_{name}_SECONDS", "1")
        patch.setenv("FEDRISK_CONNECTIONS", str(ROOM))
        patch.setenv("FEDRISK_AUDIT", str(folder / "audit"))
        server = start_server(home, "127.0.0.1", 0, folder / "log")
    server.wait_ready(60)
    yield server
    assert server.stop(60) == 0
    assert "Traceback" not in server.log.read_text()


def connect(server: ServerProcess) -> socket.socket:
    return socket.create_connection(address(server), timeout=30)


def address(server: ServerProcess) -> tuple[str, int]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return host, int(port)


@contextmanager
def behaving(server: ServerProcess) -> Iterator[list[int]]:
    """One caller that asks all the time over one connection; its answers must all be 200.

    On a machine that is busy otherwise the server may say that it is behind; that is no answer.
    """
    statuses: list[int] = []
    done = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection(*address(server), timeout=30)
        while not done.wait(0.01):
            connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if b" s behind" not in answer.read():
                statuses.append(answer.status)
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: statuses)
    try:
        yield statuses
        before = len(statuses)
        until(lambda: len(statuses) > before + 3)
    finally:
        done.set()
        thread.join(40)
    assert set(statuses) == {200}


def all_of(raw: socket.socket) -> bytes:
    """Everything until the other end closes, in whatever way."""
    text = b""
    try:
        while part := raw.recv(65536):
            text += part
    except ConnectionError:
        pass
    return text


def ended(server: ServerProcess, reason: str) -> float:
    connection = http.client.HTTPConnection(*address(server), timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    name = f'connections_ended_total{{reason="{reason}"}} '
    return sum(float(line.removeprefix(name)) for line in text.split("\n") if line.startswith(name))


def drip(raw: socket.socket, text: bytes) -> None:
    """Send a byte now and then until the other end has enough."""
    try:
        for place in range(len(text)):
            raw.sendall(text[place : place + 1])
            time.sleep(0.05)
    except OSError:
        return


def test_a_head_that_comes_byte_by_byte_is_ended(server: ServerProcess) -> None:
    before = ended(server, "head")
    with behaving(server), connect(server) as raw, connect(server) as silent:
        thread = threading.Thread(target=drip, args=(raw, HEAD + b"X: " + b"x" * 10_000))
        thread.start()
        assert all_of(raw).startswith(b"HTTP/1.1 408")
        assert all_of(silent) == b""
        raw.close()
        thread.join(30)
    assert ended(server, "head") == before + 2


def test_a_body_that_does_not_come_is_answered_by_408(server: ServerProcess, folder: Path) -> None:
    before = ended(server, "body")
    with behaving(server), connect(server) as raw:
        raw.sendall(HEAD + b"X-Request-ID: slow\r\nContent-Length: 100\r\n\r\n{")
        head, _, body = all_of(raw).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head.lower()
    assert json.loads(body) == {"error": "the body took too long", "request_id": "slow"}
    assert ended(server, "body") == before + 1
    until(lambda: '"slow"' in (folder / "audit").read_text())
    lines = [json.loads(line) for line in (folder / "audit").read_text().splitlines()]
    assert [line["status"] for line in lines if line["request_id"] == "slow"] == [408]


def test_a_body_that_comes_byte_by_byte_is_answered_by_408(server: ServerProcess) -> None:
    with behaving(server), connect(server) as raw:
        head = HEAD.replace(b"/predict", b"/v2/models/clinic/infer")
        raw.sendall(head + b"Content-Length: 100000\r\n\r\n")
        thread = threading.Thread(target=drip, args=(raw, b" " * 10_000))
        thread.start()
        assert all_of(raw).startswith(b"HTTP/1.1 408")
        raw.close()
        thread.join(30)


def test_a_caller_that_takes_no_answer_is_ended(server: ServerProcess) -> None:
    rows = json.dumps([ROW] * 300).encode()
    head = HEAD.replace(b"/predict", b"/predict/batch?explain=true")
    before = ended(server, "answer")
    with behaving(server), connect(server) as raw:
        asking = threading.Thread(
            target=lambda: send_all(
                raw, 200, head + b"Content-Length: %d\r\n\r\n" % len(rows) + rows
            )
        )
        asking.start()
        until(lambda: ended(server, "answer") > before)
        asking.join(30)


def send_all(raw: socket.socket, times: int, text: bytes) -> None:
    """Ask again and again without listening, until the other end has enough."""
    with suppress(OSError):
        for _ in range(times):
            raw.sendall(text)


def test_an_idle_connection_is_ended(server: ServerProcess) -> None:
    with behaving(server), connect(server) as raw:
        raw.sendall(WHOLE)
        assert all_of(raw).startswith(b"HTTP/1.1 200")
    with behaving(server), connect(server) as blank:
        blank.sendall(WHOLE)
        text = b""
        while not text.endswith(b"}"):
            part = blank.recv(65536)
            assert part
            text += part
        assert text.startswith(b"HTTP/1.1 200")
        blank.sendall(b"\r\n")
        assert all_of(blank) == b""


def test_a_caller_that_has_closed_its_half_is_answered(server: ServerProcess) -> None:
    with behaving(server), connect(server) as raw:
        raw.sendall(WHOLE)
        raw.shutdown(socket.SHUT_WR)
        answer = all_of(raw)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"risk_score" in answer


def test_a_caller_that_goes_away_in_the_middle_leaves_nothing(server: ServerProcess) -> None:
    with behaving(server):
        for text in (HEAD, WHOLE[:-3], WHOLE):
            with connect(server) as raw:
                raw.sendall(text)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_a_flood_of_connections_hurts_nobody_who_is_connected(server: ServerProcess) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < FLOOD + 200:
        pytest.skip(f"this process may open {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FLOOD + 200), hard))
    try:
        before = ended(server, "full")
        with behaving(server) as statuses, ExitStack() as stack:
            flood = [stack.enter_context(connect(server)) for _ in range(FLOOD)]
            answers = [all_of(raw) for raw in flood]
            refused = sum(answer.startswith(b"HTTP/1.1 503") for answer in answers)
            assert refused >= FLOOD - ROOM
            assert len(statuses) > 3
        assert ended(server, "full") == before + refused
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with connect(server) as raw:
        raw.sendall(WHOLE)
        assert all_of(raw).startswith(b"HTTP/1.1 200")


def test_a_stream_has_its_limit_for_each_of_its_parts() -> None:
    connection = object.__new__(Connection)
    connection.place, connection.since, connection.pipeline = (), 0.0, deque()
    scope: dict[str, object] = {PROGRESS: 0}
    connection.scope = scope  # type: ignore[assignment]
    connection.cycle = SimpleNamespace(  # type: ignore[assignment]
        scope=scope, more_body=True, response_complete=False, message_event=asyncio.Event()
    )
    limits = TimeLimits(body=10)
    for part in range(5):
        scope[PROGRESS] = part
        assert connection.look(part * 8.0, limits) is None
    assert connection.look(41.0, limits) is None
    assert LATE not in scope
    assert connection.look(42.0, limits) is Stage.BODY
    assert LATE in scope


def test_connections_and_other_files_have_room_together() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 700
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        assert room_for(wanted) == wanted
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == wanted + OTHER_FILES
        assert room_for(10**9) == hard - OTHER_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
