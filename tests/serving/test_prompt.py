"""Requests answered where their bytes arrive: the same answers as by ASGI, and nothing lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from fedrisk.errors import IssuerError
from fedrisk.home import Home
from fedrisk.serving.access import Guard, Guarded
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.access.rates import Rates
from fedrisk.serving.app import RiskAPI, create_app
from fedrisk.serving.journal import Journal
from fedrisk.serving.journal_target import open_target
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.predict import Limits
from fedrisk.serving.prompt import prompt_answers
from fedrisk.serving.time_limits import Connection, Stage, TimeLimits
from fedrisk.serving.transport import Envelope, MustWaitError

from .conftest import ROW, store

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BODY = json.dumps(ROW).encode()


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, waiting: int = 0) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.waiting = waiting

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def connected(app: RiskAPI, **limits: Any) -> tuple[Connection, Wire]:
    """A connection to an application; both of this event loop."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    state = ServerState()
    state.default_headers = [(b"date", b"Sun, 01 Mar 2026 00:00:00 GMT")]
    connection = Connection(
        10, lambda: None, app.prompt, config=config, server_state=state, app_state={}
    )
    wire = Wire(**limits)
    connection.connection_made(wire)
    return connection, wire


def request(
    body: bytes = BODY,
    target: str = "/predict",
    *heads: str,
    method: str = "POST",
    http: str = "1.1",
) -> bytes:
    lines = [f"{method} {target} HTTP/{http}", "Host: x", f"Content-Length: {len(body)}", *heads]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def turns(done: Callable[[], bool]) -> None:
    """Let the event loop work until something is so."""
    for _ in range(500):
        if done():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen")


def at_once(app: RiskAPI, raw: bytes) -> bytes:
    """What is written before the event loop has a turn."""

    async def ask() -> bytes:
        connection, wire = connected(app)
        connection.data_received(raw)
        return wire.written

    return asyncio.run(ask())


def by_asgi(app: RiskAPI, raw: bytes) -> bytes:
    """What is written when the body comes after the head."""

    async def ask() -> bytes:
        connection, wire = connected(app)
        head, _, body = raw.partition(b"\r\n\r\n")
        connection.data_received(head + b"\r\n\r\n")
        assert wire.written == b""
        connection.data_received(body)
        await turns(lambda: wire.written != b"" and len(parsed(wire.written)[2]) > 0)
        return wire.written

    return asyncio.run(ask())


def parsed(raw: bytes) -> tuple[bytes, list[bytes], bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status, lines, body


def without_id(raw: bytes) -> bytes:
    """An answer without the identifier that the server made."""
    (line,) = (each for each in parsed(raw)[1] if each.startswith(b"x-request-id: "))
    return raw.replace(line.removeprefix(b"x-request-id: "), b"")


@pytest.fixture
def app(home: Home) -> RiskAPI:
    """An application whose model serves."""
    store(home)
    return started(create_app(home))


def started(app: RiskAPI) -> RiskAPI:
    app.champion.refresh()
    return app


BODIES = {
    "fits": BODY,
    "strange value": BODY.replace(b"71.5", b"105"),
    "out of bounds": BODY.replace(b"71.5", b"130"),
    "no number": BODY.replace(b"71.5", b'"old"'),
    "NaN": BODY.replace(b"71.5", b"NaN"),
    "unknown feature": BODY.replace(b'"age"', b'"agee"'),
    "no JSON": b'{"age": ',
    "no object": b"[1]",
    "bad text": b'{"age": "\xff"}',
    "empty": b"",
    "deep": b"[" * 5000,
    "long": b" " * 3000 + BODY,
}
HEADS = {
    "plain": (),
    "json": ("Content-Type: application/json",),
    "with charset": ("Content-Type: application/json; charset=utf-8",),
    "csv": ("Content-Type: text/csv",),
    "packed": ("Content-Encoding: gzip",),
    "twice": ("X-Request-ID: first", "X-Request-ID: second"),
    "hostile id": ("X-Request-ID: a b",),
}


@pytest.mark.parametrize("target", ["/predict", "/predict?explain=true"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_answer_is_that_of_asgi(home: Home, body: bytes, target: str) -> None:
    store(home)
    app = started(create_app(home, limits=Limits(row_bytes=2000)))
    for heads in HEADS.values():
        given = heads if any("Request-ID: f" in h for h in heads) else (*heads, "X-Request-ID: r1")
        raw = request(body, target, *given)
        one = at_once(app, raw)
        if body:
            assert parsed(without_id(one)) == parsed(without_id(by_asgi(app, raw)))
        status, lines, answer = parsed(one)
        assert b"content-length: %d" % len(answer) in lines
        assert json.loads(answer)["request_id"]
        assert status.split()[1] in (b"200", b"400", b"413", b"415", b"422")


def test_both_ways_count_and_note_alike(home: Home, tmp_path: Path) -> None:
    store(home)
    seen = []
    for number, ask in enumerate((at_once, by_asgi)):
        path = tmp_path / f"audit{number}"
        journal = Journal(open_target(str(path)), lambda: 0.0)
        app = started(create_app(home, journal=journal))
        for body in (BODY, BODIES["out of bounds"], BODIES["strange value"]):
            ask(app, request(body, "/predict", "X-Request-ID: r"))
        text = _figures(app)
        journal.start()
        journal.stop()
        seen.append((text, path.read_text()))
    assert seen[0][0].split("\n") == seen[1][0].split("\n")
    assert seen[0][1] == seen[1][1]
    assert 'predictions_total{endpoint="/predict"' in seen[0][0]
    assert seen[0][1].count("\n") == 3


def _figures(app: RiskAPI) -> str:
    async def ask() -> bytes:
        connection, wire = connected(app)
        connection.data_received(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await turns(lambda: b"prediction_implausible" in wire.written)
        return wire.written

    lines = asyncio.run(ask()).decode().split("\n")
    told = (
        "predictions_total",
        "prediction_errors_total",
        "prediction_implausible_values_total",
        "prediction_latency_seconds_count",
    )
    return "\n".join(line for line in lines if line.startswith(told))


def _guarded(home: Home, **key: Any) -> tuple[RiskAPI, str]:
    store(home)
    made, secret = make_key("k", ["predict"], NOW, **key)
    write_keys(home.keys, KeyRing({made.id: made}))
    guard = Guard(home.keys, Rates(home.root / "rates", lambda: 0.0), lambda: NOW)
    return started(create_app(home, guard=guard)), secret


def test_keys_are_asked_for(home: Home) -> None:
    app, secret = _guarded(home)
    fits = request(BODY, "/predict", f"Authorization: Bearer {secret}")
    assert at_once(app, fits).startswith(b"HTTP/1.1 200")
    for heads in ((), ("Authorization: Bearer fedrisk_no",), ("Authorization: Basic x",)):
        raw = request(BODY, "/predict", "X-Request-ID: r", *heads)
        assert parsed(at_once(app, raw)) == parsed(by_asgi(app, raw))
        assert at_once(app, raw).startswith(b"HTTP/1.1 401")
        assert b"www-authenticate: Bearer" in at_once(app, raw)


def test_an_answer_that_must_wait_goes_by_asgi(home: Home) -> None:
    class Waiting:
        calls = 0

        def at_once(self, scope: Any, body: bytes) -> bytes:
            raise MustWaitError

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            assert (await receive())["body"] == BODY
            Waiting.calls += 1
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-length", b"2")],
                }
            )
            await send({"type": "http.response.body", "body": b"ok"})

    store(home)
    app = create_app(home)
    envelope = app.direct["/predict"] = Envelope(Waiting(), lambda path, status: None)
    app.prompt = prompt_answers("/predict", (b"",), envelope.at_once)
    assert at_once(app, request()) == b""
    Waiting.calls = 0

    async def ask() -> bytes:
        connection, wire = connected(app)
        connection.data_received(request() + request())
        await turns(lambda: wire.written.count(b"ok") == 2)
        return wire.written

    assert asyncio.run(ask()).count(b"HTTP/1.1 200") == 2
    assert Waiting.calls == 2


def test_an_issuer_that_must_be_asked_is_waited_for() -> None:
    class Away:
        def admit(self, given: bytes | None, scope: str) -> None:
            raise IssuerError("the issuer's keys are unknown")

    guarded: Any = Guarded(None, Away(), "predict")  # type: ignore[arg-type]
    with pytest.raises(MustWaitError):
        guarded.at_once({"headers": []}, b"")


def test_a_strict_journal_is_waited_for(home: Home, tmp_path: Path) -> None:
    store(home)
    journal = Journal(open_target(str(tmp_path / "audit")), lambda: 0.0, strict=True)
    app = started(create_app(home, journal=journal))

    async def ask() -> None:
        connection, wire = connected(app)
        connection.data_received(request())
        assert wire.written == b""
        await turns(lambda: b"risk_score" in wire.written)

    journal.start()
    asyncio.run(ask())
    journal.stop()
    assert (tmp_path / "audit").read_text().count("\n") == 1


def test_a_server_that_is_late_says_so(home: Home) -> None:
    store(home)
    lifecycle = Lifecycle(most_lag=0.1)
    app = started(create_app(home, lifecycle=lifecycle))
    lifecycle.lag = 1.0
    answer = at_once(app, request())
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer
    assert lifecycle.shed == 1


UNUSUAL = {
    "HTTP/1.0": request(http="1.0"),
    "to be closed": request(BODY, "/predict", "Connection: close"),
    "expects": request(BODY, "/predict", "Expect: 100-continue"),
    "another query": request(BODY, "/predict?explain=false"),
    "another method": request(BODY, "/predict", method="PUT"),
    "another path": request(BODY, "/predict/batch"),
    "upgrade": request(BODY, "/predict", "Connection: upgrade", "Upgrade: h2c"),
    "half a body": request()[:-5],
    "half a head": request()[:30],
}


@pytest.mark.parametrize("raw", UNUSUAL.values(), ids=UNUSUAL)
def test_what_is_unusual_is_not_answered_at_once(app: RiskAPI, raw: bytes) -> None:
    assert at_once(app, raw) == b""


@pytest.mark.parametrize("way", ["HTTP/1.0", "to be closed"])
def test_a_connection_that_is_not_kept_is_closed_after_its_answer(app: RiskAPI, way: str) -> None:
    async def ask() -> bytes:
        connection, wire = connected(app)
        connection.data_received(UNUSUAL[way])
        await turns(lambda: wire.closed)
        return wire.written

    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"risk_score" in answer


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_requests_in_any_pieces_are_all_answered_in_their_order(data: Any) -> None:
    app = _kept_app()
    kinds = {
        "at once": lambda n: request(BODY, "/predict", f"X-Request-ID: {n}"),
        "wrong": lambda n: request(BODIES["no number"], "/predict", f"X-Request-ID: {n}"),
        "by ASGI": lambda n: request(b"[" + BODY + b"]", "/predict/batch", f"X-Request-ID: {n}"),
        "chunked": lambda n: (
            (
                f"POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-ID: {n}\r\n"
                "Transfer-Encoding: chunked\r\n\r\n"
            ).encode()
            + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
        ),
        "live": lambda n: f"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: {n}\r\n\r\n".encode(),
    }
    chosen = data.draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=8))
    raw = b"".join(kinds[kind](number) for number, kind in enumerate(chosen))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    waits = data.draw(st.lists(st.booleans(), min_size=len(cuts) + 1, max_size=len(cuts) + 1))

    async def ask() -> bytes:
        connection, wire = connected(app)
        for (start, end), wait in zip(
            zip([0, *cuts], [*cuts, len(raw)], strict=True), waits, strict=True
        ):
            connection.data_received(raw[start:end])
            if wait:
                await asyncio.sleep(0)
        with suppress(AssertionError):
            await turns(lambda: wire.written.count(b"x-request-id: ") == len(chosen))
        return wire.written

    answers = asyncio.run(ask())
    order = [int(part.split(b"\r\n")[0]) for part in answers.split(b"x-request-id: ")[1:]]
    assert order == list(range(len(chosen)))


def _kept_app(kept: list[RiskAPI] = []) -> RiskAPI:  # noqa: B006 one app for many examples
    if not kept:
        import tempfile

        home = Home(Path(tempfile.mkdtemp()) / "home").prepare()
        store(home)
        kept.append(started(create_app(home, lifecycle=Lifecycle(most_lag=60))))
    return kept[0]


def test_stages_of_a_connection_that_was_answered_at_once(app: RiskAPI) -> None:
    async def look() -> Iterator[Stage]:
        connection, wire = connected(app)
        stages = [connection.stage()]
        connection.data_received(request())
        stages.append(connection.stage())
        wire.waiting = 10
        stages.append(connection.stage())
        wire.waiting = 0
        connection.data_received(request()[:20])
        stages.append(connection.stage())
        connection.data_received(request()[20:-5])
        stages.append(connection.stage())
        return iter(stages)

    stages = asyncio.run(look())  # type: ignore[arg-type]
    assert list(stages) == [Stage.HEAD, Stage.IDLE, Stage.ANSWER, Stage.HEAD, Stage.BODY]


def test_an_asking_connection_is_not_taken_for_idle(app: RiskAPI) -> None:
    async def ask() -> None:
        connection, wire = connected(app)
        limits = TimeLimits(idle=10)
        for second in range(0, 60, 5):
            connection.data_received(request(BODY, "/predict", "X-Request-ID: same"))
            assert connection.look(float(second), limits) is None
        assert connection.look(64.9, limits) is None
        assert connection.look(65.1, limits) is Stage.IDLE
        assert wire.closed

    asyncio.run(ask())


def test_a_caller_who_reads_slowly_is_waited_for(app: RiskAPI) -> None:
    async def ask() -> None:
        connection, wire = connected(app)
        connection.pause_writing()
        connection.data_received(request())
        await asyncio.sleep(0.01)
        assert wire.written == b""
        connection.resume_writing()
        await turns(lambda: b"risk_score" in wire.written)

    asyncio.run(ask())


def test_a_request_that_comes_with_the_end_is_answered_as_the_last(app: RiskAPI) -> None:
    async def ask() -> bytes:
        connection, wire = connected(app)
        connection.data_received(request())
        connection.shutdown()
        assert not wire.closed
        connection.data_received(request() + request())
        await turns(lambda: wire.closed)
        return wire.written

    first, last = asyncio.run(ask()).split(b"HTTP/1.1 200")[1:]
    assert b"connection: close\r\n" not in first
    assert b"connection: close\r\n" in last
    assert b"risk_score" in last


def test_a_connection_without_a_request_is_closed_at_the_end(app: RiskAPI) -> None:
    async def ask() -> None:
        connection, wire = connected(app)
        connection.data_received(request())
        connection.shutdown()
        await turns(lambda: wire.closed)

    asyncio.run(ask())
