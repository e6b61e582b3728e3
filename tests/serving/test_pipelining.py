"""One connection keeps neither the others waiting nor the memory of the server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from fedrisk.serving.pipelining import MOST_HEAD, PIECE
from fedrisk.serving.prompt import prompt_answers
from fedrisk.serving.time_limits import Connection, Stage, TimeLimits

from .test_prompt import Wire, turns

PROMPT, SLOW = b"/prompt", b"/slow"


class Reading(Wire):
    """A wire that tells whether it is read."""

    reads = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class World:
    """A connection, what it answered at once and what by ASGI."""

    def __init__(self) -> None:
        self.answered: list[bytes] = []
        self.scopes: list[Any] = []
        self.running = 0
        self.open = asyncio.Event()
        prompt = prompt_answers(PROMPT.decode(), (b"",), self._at_once)
        config = uvicorn.Config(
            self._asgi, interface="asgi3", log_config=None, access_log=False, lifespan="off"
        )
        state = ServerState()
        self.connection = Connection(
            9, lambda: None, prompt, config=config, server_state=state, app_state={}
        )
        self.wire = Reading()
        self.connection.connection_made(self.wire)

    def _at_once(self, scope: Any, body: bytes) -> tuple[int, bytes]:
        self.answered.append(body)
        self.scopes.append(scope)
        return 200, b"content-length: 0\r\n\r\n"

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        self.running += 1
        self.scopes.append(scope)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await self.open.wait()
        self.answered.append(body)
        head = {"status": 200, "headers": [(b"content-length", b"0")]}
        await send({"type": "http.response.start", **head})
        await send({"type": "http.response.body", "body": b""})


def within(what: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        await what(World())

    asyncio.run(run())


def ask(target: bytes, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (target, len(body), body)


def numbered(target: bytes, count: int) -> list[bytes]:
    return [ask(target, b"%d" % number) for number in range(count)]


def test_others_have_their_turn_between_the_pieces_of_a_long_read() -> None:
    async def what(world: World) -> None:
        asked = numbered(PROMPT, 5000)
        world.connection.data_received(b"".join(asked))
        assert 0 < len(world.answered) <= PIECE // len(asked[0])
        assert not world.wire.reads
        seen = []
        while len(world.answered) < len(asked):
            seen.append(len(world.answered))
            await asyncio.sleep(0)
        assert max(b - a for a, b in itertools.pairwise(seen)) <= PIECE // len(asked[0])
        assert world.answered == [b"%d" % number for number in range(5000)]
        assert world.running == 0
        assert world.wire.reads

    within(what)


def test_nothing_is_read_while_requests_wait_and_all_are_answered_in_order() -> None:
    async def what(world: World) -> None:
        asked = numbered(SLOW, 2000)
        world.connection.data_received(b"".join(asked))
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.running == 1
        assert not world.wire.reads
        assert len(world.connection.pipeline) <= PIECE // len(asked[0])
        world.open.set()
        while not world.answered:
            await asyncio.sleep(0)
        assert len(world.answered) < len(asked)
        assert not world.wire.reads
        await turns(lambda: len(world.answered) == len(asked))
        assert world.answered == [b"%d" % number for number in range(2000)]
        assert world.wire.reads

    within(what)


def test_short_reads_behind_a_running_request_stop_the_reading() -> None:
    async def what(world: World) -> None:
        for _ in range(30):
            world.connection.data_received(ask(SLOW, b"x"))
            await asyncio.sleep(0)
        assert not world.wire.reads
        world.open.set()
        while not world.answered:
            await asyncio.sleep(0)
        assert world.connection.pipeline
        assert not world.wire.reads
        await turns(lambda: len(world.answered) == 30)
        assert world.wire.reads

    within(what)


def test_a_running_request_that_wants_its_body_gets_it_from_what_was_read() -> None:
    async def what(world: World) -> None:
        world.open.set()
        body = b"y" * (2 * PIECE)
        world.connection.data_received(
            ask(PROMPT, b"x") + ask(SLOW, body) + b"".join(numbered(SLOW, 2000))
        )
        while world.connection.flow.rest:
            assert not world.wire.reads
            await asyncio.sleep(0)
        await turns(lambda: len(world.answered) == 2002)
        assert world.answered[1] == body

    within(what)


@pytest.mark.parametrize("target", [PROMPT, SLOW])
def test_a_body_longer_than_a_piece_comes_whole(target: bytes) -> None:
    async def what(world: World) -> None:
        world.open.set()
        body = bytes(range(256)) * (4 * PIECE // 256)
        world.connection.data_received(ask(target, body) + ask(target, b"next"))
        await turns(lambda: len(world.answered) == 2)
        assert world.answered == [body, b"next"]
        assert world.running == (0 if target is PROMPT else 2)

    within(what)


def test_a_long_body_that_is_not_taken_is_not_read_on() -> None:
    async def what(world: World) -> None:
        world.connection.data_received(ask(SLOW, b" " * (20 * PIECE))[: 10 * PIECE])
        assert len(world.connection.cycle.body) < 2 * PIECE
        world.connection._go_on()
        assert not world.wire.reads
        await turns(lambda: world.wire.reads)

    within(what)


def test_a_connection_that_closes_between_pieces_answers_no_more() -> None:
    async def what(world: World) -> None:
        world.connection.data_received(b"".join(numbered(PROMPT, 5000)))
        answered = len(world.answered)
        world.wire.closed = True
        world.connection.connection_lost(None)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(world.answered) <= answered

    within(what)


def test_a_head_without_end_is_refused() -> None:
    async def what(world: World) -> None:
        world.connection.data_received(b"POST /prompt HTTP/1.1\r\n")
        line = b"x: %b\r\n" % (b"a" * 1000)
        sent = 0
        while not world.wire.closed:
            world.connection.data_received(line)
            sent += len(line)
        assert MOST_HEAD - 2 * len(line) < sent <= MOST_HEAD + len(line)
        assert world.wire.written.startswith(b"HTTP/1.1 431 ")

    within(what)


def test_heads_and_bodies_without_end_are_no_long_head() -> None:
    async def what(world: World) -> None:
        world.open.set()
        text = ask(PROMPT, b"x") * 4000 + ask(SLOW, b"y" * (4 * MOST_HEAD))
        for start in range(0, len(text), 50):
            world.connection.data_received(text[start : start + 50])
            if start % 5000 == 0:
                await asyncio.sleep(0)
        await turns(lambda: len(world.answered) == 4001)
        assert not world.wire.closed

    within(what)


@pytest.mark.parametrize("target", [PROMPT, SLOW])
def test_trailers_without_end_end_the_connection(target: bytes) -> None:
    async def what(world: World) -> None:
        head = b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" % target
        world.connection.data_received(head + b"1\r\nx\r\n0\r\n")
        for _ in range(2 * MOST_HEAD // 1000):
            if not world.wire.closed:
                world.connection.data_received(b"x: %b\r\n" % (b"a" * 1000))
        assert world.wire.closed
        assert world.answered == []

    within(what)


@pytest.mark.parametrize("target", [PROMPT, SLOW])
def test_trailers_are_no_headers(target: bytes) -> None:
    async def what(world: World) -> None:
        world.open.set()
        head = b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\nx-one: 1\r\n\r\n" % target
        world.connection.data_received(head + b"1\r\nx\r\n0\r\nauthorization: Bearer y\r\n\r\n")
        await turns(lambda: world.answered == [b"x"])
        names = [name for name, _ in world.scopes[0]["headers"]]
        assert names == [b"transfer-encoding", b"x-one"]

    within(what)


def test_a_connection_that_waits_keeps_no_body() -> None:
    async def what(world: World) -> None:
        world.open.set()
        world.connection.data_received(ask(PROMPT, b"x" * 1000))
        assert world.connection._parts == []
        world.connection.data_received(ask(PROMPT, b"x" * 1000)[:-1])
        assert world.connection._parts == []

    within(what)


def test_half_a_request_behind_a_running_one_waits_for_its_answer() -> None:
    async def what(world: World) -> None:
        world.connection.data_received(ask(SLOW, b"x") + ask(SLOW, b"yy")[:-1])
        await asyncio.sleep(0)
        assert world.connection.stage() is Stage.ANSWER
        limits = TimeLimits(body=1, answer=10)
        running = world.scopes[0]
        for second in range(30):
            running["fedrisk.progress"] = second
            assert world.connection.look(float(second), limits) is None
        assert world.connection.look(40.0, limits) is Stage.ANSWER

    within(what)


@pytest.mark.parametrize("target", [PROMPT, SLOW])
def test_many_requests_without_a_body_are_no_long_head(target: bytes) -> None:
    async def what(world: World) -> None:
        world.open.set()
        count = 2 * MOST_HEAD // len(ask(target, b""))
        for _ in range(count):
            world.connection.data_received(ask(target, b""))
        await turns(lambda: len(world.answered) == count)
        assert not world.wire.closed

    within(what)


def test_after_an_answer_by_asgi_the_next_is_given_at_once_again() -> None:
    async def what(world: World) -> None:
        world.open.set()
        world.connection.data_received(ask(SLOW, b"x"))
        await turns(lambda: world.answered == [b"x"])
        world.connection.data_received(ask(PROMPT, b"y"))
        assert world.answered == [b"x", b"y"]
        assert world.running == 1

    within(what)
