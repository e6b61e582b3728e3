"""The coordinator's only door: what passes, byte for byte, and what does not, by real HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from federation.door import SuperLink, ask, door, known_to_all, quiet, request_line, serving
from running import wait_until

from fedrisk import __version__
from fedrisk.cli.gateway import ImpatientProtocol, configure
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.gateway import FLEET_CALLS, make_gateway
from fedrisk.federation.provisioning.certificates import make_authority, make_server_certificate
from fedrisk.federation.provisioning.connection import fault

PULL = "/v1/fleet/pull-messages"


@pytest.fixture
def superlink() -> SuperLink:
    return SuperLink()


@pytest.fixture
def upstream(superlink: SuperLink) -> Iterator[int]:
    (port,) = free_ports(1)
    with serving(quiet(superlink, port, lifespan="off")):
        yield port


@pytest.fixture
def address(upstream: int) -> Iterator[str]:
    with door(upstream, largest_request=1_000_000, largest_total=3_000_000) as address:
        yield address


@pytest.mark.parametrize("call", sorted(FLEET_CALLS))
def test_calls_of_sites_pass(address: str, superlink: SuperLink, call: str) -> None:
    body = hashlib.sha256(call.encode()).digest() * 7
    answer = httpx.post(address + call, content=body)
    assert (answer.status_code, answer.content) == (200, body)
    assert (superlink.requests[0]["path"], superlink.requests[0]["body"]) == (call, body)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/fleet/register-node"),
        ("POST", "/v1/fleet/unregister-node"),
        ("POST", "/v1/control/start-run"),
        ("POST", "/v1/control/register-node"),
        ("POST", "/v1/runtime/pull-messages"),
        ("POST", "/v1/fleet"),
        ("POST", "/v1/fleet/"),
        ("POST", "/"),
        ("POST", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", PULL),
        ("PUT", PULL),
        ("HEAD", PULL),
        ("OPTIONS", PULL),
        ("POST", "/health"),
        ("POST", "/" + PULL),
        ("POST", "/v1//fleet/pull-messages"),
        ("POST", PULL + "/"),
        ("POST", PULL + "/."),
        ("POST", PULL + "/../register-node"),
        ("POST", "/v1/fleet/./pull-messages"),
        ("POST", "/v1/fleet/%2e%2e/control/start-run"),
        ("POST", "/v1/fleet/pull-messages/%2e%2e/register-node"),
        ("POST", "/v1/fleet/pull%2dmessages"),
        ("POST", "/v1%2ffleet%2fpull-messages"),
        ("POST", "/v1/fleet/pull-messages%00"),
        ("POST", "/v1/fleet/pull-messages%20"),
        ("POST", PULL + ";x=1"),
        ("POST", PULL + "?x=1"),
        ("POST", "/V1/FLEET/PULL-MESSAGES"),
        ("POST", "/v1/fleet/Pull-Messages"),
        ("POST", "http://127.0.0.1/v1/control/start-run"),
    ],
)
def test_nothing_else_passes(address: str, superlink: SuperLink, method: str, target: str) -> None:
    status, _ = ask(address, request_line(method, target))
    assert status == 404
    assert superlink.requests == []


def test_a_request_hidden_in_another_does_not_pass(address: str, superlink: SuperLink) -> None:
    """Two lengths, or a length beside an encoding: what follows is no request of its own."""
    hidden = request_line("POST", "/v1/control/start-run")
    both = (
        f"POST {PULL} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden) + 5}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ).encode()
    status, _ = ask(address, both + hidden)
    assert status in (200, 400)
    lengths = f"Content-Length: 0\r\nContent-Length: {len(hidden)}"
    twice = f"POST {PULL} HTTP/1.1\r\nHost: x\r\n{lengths}\r\n\r\n".encode()
    assert ask(address, twice + hidden)[0] == 400
    assert {request["path"] for request in superlink.requests} <= {PULL}


def test_health_tells_who_is_there(address: str) -> None:
    assert httpx.get(address + "/health").json() == {"fedrisk": "1"}
    assert httpx.get(address + "/health").headers["date"]


def test_calls_are_exactly_those_of_a_registered_supernode() -> None:
    """Flower's own connection calls each of them, and registers itself only without a key."""
    from flwr.supernode import fleet_http_client, fleet_http_connection

    client = inspect.getsource(fleet_http_client)
    paths = dict(re.findall(r"def (\w+)\(.*?path=\"(/v1/fleet/[a-z-]+)\"", client, re.S))
    called = set(re.findall(r"client\.(\w+)\b", inspect.getsource(fleet_http_connection)))
    by_itself = {"RegisterNode", "UnregisterNode"}
    assert by_itself < called, "another Flower than 1.41"
    assert {paths[name] for name in called & set(paths) - by_itself} == FLEET_CALLS
    lines = inspect.getsource(fleet_http_connection).splitlines()
    for number, line in enumerate(lines):
        if re.search(r"client\.(Unr|R)egisterNode", line):
            assert "if self_registered:" in "".join(lines[max(0, number - 3) : number])


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_pass_byte_for_byte(address: str, superlink: SuperLink, chunked: bool) -> None:
    body = bytes(range(256)) * 3_000
    superlink.answer = lambda body: [body[n : n + 70_001] for n in range(0, len(body), 70_001)]
    parts = (body[n : n + 9_973] for n in range(0, len(body), 9_973))
    answer = httpx.post(address + PULL, content=parts if chunked else body)
    assert superlink.requests[0]["body"] == body
    assert answer.content == body
    sent = dict(superlink.requests[0]["headers"])
    assert (b"content-length" in sent) is not chunked


def test_errors_of_superlink_pass_as_they_are(address: str, superlink: SuperLink) -> None:
    superlink.status, superlink.answer = 412, lambda _: [b'{"code": 5}']
    superlink.headers = [(b"content-type", b"application/json"), (b"location", b"http://else")]
    answer = httpx.post(address + PULL, content=b"x")
    assert (answer.status_code, answer.json()) == (412, {"code": 5})
    superlink.status = 307
    assert httpx.post(address + PULL, content=b"x").status_code == 307
    assert len(superlink.requests) == 2, "nobody follows a redirection"


def test_an_answer_streams(upstream: int, superlink: SuperLink) -> None:
    """The first part arrives while SuperLink still holds the second back."""
    release = threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await asyncio.to_thread(release.wait, 20)
        await send({"type": "http.response.body", "body": b"second"})

    (port,) = free_ports(1)
    with (
        serving(quiet(slow, port, lifespan="off")),
        door(port) as address,
        httpx.stream("POST", address + PULL, content=b"x") as answer,
    ):
        parts = answer.iter_raw()
        assert next(parts) == b"first"
        release.set()
        assert b"".join(parts) == b"second"


def test_headers_of_one_connection_are_dropped_on_both_sides(
    address: str, superlink: SuperLink
) -> None:
    superlink.headers = [
        (b"Connection", b"X-Secret"),
        (b"X-Secret", b"1"),
        (b"keep-alive", b"timeout=5"),
        (b"server", b"inner"),
        (b"flwr-version", b"1.41"),
    ]
    sent = {
        "Connection": "X-Mine, close",
        "X-Mine": "1",
        "TE": "trailers",
        "Upgrade": "h2c",
        "Proxy-Authorization": "x",
        "X-Forwarded-For": "127.0.0.1",
        "Forwarded": "for=127.0.0.1",
        "Expect": "100-continue",
        "flwr-timestamp": "2026",
        "Accept-Encoding": "identity",
    }
    answer = httpx.post(address + PULL, content=b"x", headers=sent)
    passed = {name.decode(): value.decode() for name, value in superlink.requests[0]["headers"]}
    assert passed.pop("host").startswith("127.0.0.1:")
    assert set(passed) == {
        *("accept", "accept-encoding", "user-agent", "content-length", "flwr-timestamp")
    }
    assert passed["accept-encoding"] == "identity"
    assert answer.headers["flwr-version"] == "1.41"
    assert {"x-secret", "keep-alive", "server"}.isdisjoint(answer.headers)


def test_nothing_is_added_to_what_a_site_says(address: str, superlink: SuperLink) -> None:
    ask(address, request_line("POST", PULL))
    names = {name for name, _ in superlink.requests[0]["headers"]}
    assert names == {b"host", b"content-length"}


def test_too_large_is_refused_before_superlink_sees_it(address: str, superlink: SuperLink) -> None:
    assert httpx.post(address + PULL, content=b"x" * 1_000_000).status_code == 200
    superlink.requests.clear()
    assert httpx.post(address + PULL, content=b"x" * 1_000_001).status_code == 413
    assert superlink.requests == []


def test_too_large_in_parts_is_cut(address: str, superlink: SuperLink) -> None:
    parts = (b"x" * 100_000 for _ in range(11))
    assert httpx.post(address + PULL, content=parts).status_code == 413
    assert all("body" not in request for request in superlink.requests)
    assert httpx.post(address + PULL, content=b"after").content == b"after"


def test_all_requests_together_are_bounded(upstream: int, superlink: SuperLink) -> None:
    """Bytes count until SuperLink has answered; then there is room again."""
    superlink.hold = threading.Event()
    with door(upstream, largest_request=600, largest_total=1000) as address:
        done: list[int] = []

        def send() -> None:
            done.append(httpx.post(address + PULL, content=b"x" * 600, timeout=20).status_code)

        first = threading.Thread(target=send)
        first.start()
        while not (superlink.requests and "body" in superlink.requests[0]):
            time.sleep(0.01)
        second = httpx.post(address + PULL, content=b"x" * 600)
        assert (second.status_code, "too much" in second.text) == (503, True)
        superlink.hold.set()
        superlink.hold = None
        first.join(20)
        assert done == [200]
        assert httpx.post(address + PULL, content=b"x" * 600).status_code == 200


def test_more_requests_than_superlink_is_given_are_told_to_come_again(
    upstream: int, superlink: SuperLink
) -> None:
    superlink.hold = threading.Event()
    limits = httpx.Limits(max_connections=1)
    with door(upstream, pool=limits, turn=0.2) as address:
        first = threading.Thread(
            target=lambda: httpx.post(address + PULL, content=b"1", timeout=20)
        )
        first.start()
        while not superlink.requests:
            time.sleep(0.01)
        assert httpx.post(address + PULL, content=b"2").status_code == 503
        superlink.hold.set()
        superlink.hold = None
        first.join(20)


def test_superlink_away_is_told_so(superlink: SuperLink) -> None:
    (port,) = free_ports(1)
    with door(port) as address:
        answer = httpx.post(address + PULL, content=b"x")
        assert (answer.status_code, "starting" in answer.text) == (503, True)
        with serving(quiet(superlink, port, lifespan="off")):
            assert httpx.post(address + PULL, content=b"x").status_code == 200
        assert httpx.post(address + PULL, content=b"x").status_code == 503


def test_superlink_that_ends_within_an_answer_cuts_it(address: str, superlink: SuperLink) -> None:
    superlink.answer, superlink.gone_after = lambda _: [b"a" * 10, b"b" * 10], 1
    superlink.headers = [(b"content-length", b"20")]
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(address + PULL, content=b"x")
    superlink.answer, superlink.gone_after, superlink.headers = lambda body: [body], None, []
    assert httpx.post(address + PULL, content=b"x").content == b"x"


def test_a_site_that_goes_within_its_request_leaves_nothing(
    address: str, superlink: SuperLink
) -> None:
    host, _, port = address.removeprefix("http://").partition(":")
    for _ in range(20):
        with closing(socket.create_connection((host, int(port)))) as connection:
            head = f"POST {PULL} HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n"
            connection.sendall(head.encode() + b"x" * 200_000)
    # A busy machine notices that they are gone a little later.
    assert wait_until(lambda: httpx.post(address + PULL, content=b"x").content == b"x", 30)
    whole = [request for request in superlink.requests if "body" in request]
    assert [request["body"] for request in whole] == [b"x"]
    # Their bytes are given back: three times as much would not pass together.
    assert httpx.post(address + PULL, content=b"x" * 1_000_000).status_code == 200


def test_a_site_that_stops_within_its_request_is_not_waited_for(upstream: int) -> None:
    with door(upstream, part_seconds=0.2) as address:
        head = f"POST {PULL} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
        assert ask(address, head.encode() + b"half")[0] == 408


def test_a_call_has_an_end(upstream: int, superlink: SuperLink) -> None:
    superlink.hold = threading.Event()
    with door(upstream, call_seconds=0.2) as address, pytest.raises(httpx.HTTPError):
        httpx.post(address + PULL, content=b"x", timeout=20).raise_for_status()
    superlink.hold.set()


@pytest.mark.parametrize("sent", [b"", b"POST /v1/fleet/pull-messages HTTP/1.1\r\nX: "])
def test_who_asks_for_nothing_is_not_waited_for(upstream: int, sent: bytes) -> None:
    class Impatient(ImpatientProtocol):
        look_seconds = 0.1

    with door(upstream, protocol=Impatient) as address:
        host, _, port = address.removeprefix("http://").partition(":")
        with closing(socket.create_connection((host, int(port)), timeout=20)) as connection:
            connection.sendall(sent)
            assert connection.recv(10) == b"", "the door closes it"


def test_a_call_that_takes_long_is_not_cut_by_impatience(
    upstream: int, superlink: SuperLink
) -> None:
    class Impatient(ImpatientProtocol):
        look_seconds = 0.05

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.5)
        await SuperLink()(scope, receive, send)

    (port,) = free_ports(1)
    with serving(quiet(slow, port, lifespan="off")), door(port, protocol=Impatient) as address:
        assert httpx.post(address + PULL, content=b"late").content == b"late"


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    now = datetime.now(UTC)
    for name in ("outer", "inner", "foreign"):
        make_authority(tmp_path / name, now)
        make_server_certificate(tmp_path / name, ["127.0.0.1"], now)
    return tmp_path


def test_both_sides_are_checked_by_their_own_authority(
    certificates: Path, superlink: SuperLink
) -> None:
    """The real server and client: TLS outside by one authority, TLS inside by another."""
    inner, port = free_ports(2)
    tls = {
        "ssl_certfile": certificates / "inner" / "server.crt",
        "ssl_keyfile": certificates / "inner" / "server.key",
    }
    about = {"fedrisk": __version__}
    gateway = make_gateway(inner, certificates / "inner" / "ca.crt", about, known_to_all)
    config = configure(gateway, "127.0.0.1", port, certificates / "outer")
    trusted = ssl.create_default_context(cafile=certificates / "outer" / "ca.crt")
    config.loop = "asyncio"
    with serving(quiet(superlink, inner, lifespan="off", **tls)), serving(config):
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trusted) as site:
            assert site.post(PULL, content=b"sealed").content == b"sealed"
        clock = lambda: datetime.now(UTC)  # noqa: E731
        way = f"127.0.0.1:{port}"
        assert fault(way, certificates / "outer" / "ca.crt", clock) == ""
        assert "not of this federation" in fault(way, certificates / "inner" / "ca.crt", clock)


def test_what_is_not_superlink_gets_nothing(certificates: Path, superlink: SuperLink) -> None:
    """Another program on SuperLink's port, with a certificate of its own, sees no request."""
    inner, port = free_ports(2)
    tls = {
        "ssl_certfile": certificates / "foreign" / "server.crt",
        "ssl_keyfile": certificates / "foreign" / "server.key",
    }
    about = {"fedrisk": "1"}
    gateway = make_gateway(inner, certificates / "inner" / "ca.crt", about, known_to_all)
    config = configure(gateway, "127.0.0.1", port, certificates / "outer")
    trusted = ssl.create_default_context(cafile=certificates / "outer" / "ca.crt")
    config.loop = "asyncio"
    with (
        serving(quiet(superlink, inner, lifespan="off", **tls)),
        serving(config),
        httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trusted) as site,
    ):
        assert site.post(PULL, content=b"sealed").status_code == 503
    assert superlink.requests == []
