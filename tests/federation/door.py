"""A stand-in for SuperLink, and the gateway before it, both by real HTTP."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import uvicorn

from fedrisk.cli.gateway import ImpatientProtocol
from fedrisk.federation.admission import Standing
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.gateway import Gateway


class SuperLink:
    """Stands in for SuperLink: notes each request, and answers as it is told to."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answer: Callable[[bytes], list[bytes]] = lambda body: [body]
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/protobuf")]
        self.hold: threading.Event | None = None
        self.gone_after: int | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        note = {"path": scope["path"], "headers": list(scope["headers"]), "received": 0}
        self.requests.append(note)
        body = b""
        while True:
            part = await receive()
            if part["type"] == "http.disconnect":
                note["cut"] = True
                return
            body += part["body"]
            note["received"] = len(body)
            if not part.get("more_body"):
                break
        note["body"] = body
        if self.hold is not None:
            await asyncio.to_thread(self.hold.wait, 20)
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        parts = self.answer(body)
        for number, data in enumerate(parts):
            if number == self.gone_after:
                return
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@contextmanager
def serving(config: uvicorn.Config) -> Iterator[uvicorn.Server]:
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(20)


def quiet(app: Any, port: int, **settings: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        port=port,
        loop="asyncio",
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=1,
        **settings,
    )


def known_to_all(_headers: Any) -> Standing:
    """Takes every call for one site's."""
    return Standing("north")


@contextmanager
def door(upstream: int, protocol: Any = ImpatientProtocol, **limits: Any) -> Iterator[str]:
    """The gateway before that port, on a port of its own; the address of it."""
    (port,) = free_ports(1)
    pool = limits.pop("pool", httpx.Limits(max_connections=8))
    client = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{upstream}",
        timeout=httpx.Timeout(5.0, pool=limits.pop("turn", 5.0)),
        limits=pool,
        trust_env=False,
    )
    judge = limits.pop("judge", known_to_all)
    gateway = Gateway(client, {"fedrisk": "1"}, judge, **limits)
    with serving(quiet(gateway, port, http=protocol, proxy_headers=False)):
        yield f"http://127.0.0.1:{port}"


def ask(address: str, raw: bytes) -> tuple[int, bytes]:
    """Send bytes as they are; the status and everything after the headers."""
    host, _, port = address.removeprefix("http://").partition(":")
    with closing(socket.create_connection((host, int(port)), timeout=20)) as connection:
        connection.sendall(raw)
        answer = b""
        while data := connection.recv(65_536):
            answer += data
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


def request_line(method: str, target: str) -> bytes:
    headers = "Host: x\r\nContent-Length: 0\r\nConnection: close"
    return f"{method} {target} HTTP/1.1\r\n{headers}\r\n\r\n".encode()
