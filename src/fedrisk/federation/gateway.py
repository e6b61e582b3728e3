"""The coordinator's only door: Flower's Fleet API to sites, nothing else of SuperLink.

SuperLink serves sites (Fleet API), operators (Control API: register nodes, run code) and its own
processes on one port, and the Control API asks for no credentials. So SuperLink listens on the
loopback interface by certificates of its own, and this application stands before it: it ends the
sites' TLS, passes the Fleet calls that a registered SuperNode makes, and answers 404 otherwise.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import httpx

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: What a registered SuperNode calls. Not ``register-node``: sites are registered by people.
FLEET_CALLS = frozenset(
    f"/v1/fleet/{call}"
    for call in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
#: Bytes of one request; Flower sends an array a request.
LARGEST_REQUEST = 256 * 1024 * 1024
#: Headers that belong to one connection and are not passed on (RFC 9110, 7.6.1).
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade host".split()
)


class TooLargeError(Exception):
    """A request of more than `LARGEST_REQUEST` bytes."""


class Gateway:
    """An ASGI application between sites and SuperLink.

    Parameters
    ----------
    client : httpx.AsyncClient
        Reaches SuperLink by its base address.
    about : dict
        What ``GET /health`` answers.
    """

    def __init__(self, client: httpx.AsyncClient, about: dict[str, str]) -> None:
        self._client = client
        self._about = about

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] != "http":
            return
        elif scope["path"] in FLEET_CALLS and scope["method"] == "POST":
            await self._pass(scope, receive, send)
        elif scope["path"] == "/health" and scope["method"] == "GET":
            await _answer(send, 200, self._about)
        else:
            await _answer(send, 404, {"detail": "not a call that sites make"})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            event = (await receive())["type"]
            if event == "lifespan.shutdown":
                await self._client.aclose()
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(k, v) for k, v in scope["headers"] if k.lower() not in _HOP_BY_HOP]
        try:
            request = self._client.build_request(
                "POST", scope["path"], headers=headers, content=_body(receive)
            )
            response = await self._client.send(request, stream=True)
        except TooLargeError:
            await _answer(send, 413, {"detail": f"more than {LARGEST_REQUEST} bytes"})
            return
        except httpx.TransportError:
            await _answer(send, 503, {"detail": "the coordinator is starting"})
            return
        try:
            await _relay(response, send)
        finally:
            await response.aclose()


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    total = 0
    while True:
        part = await receive()
        if part["type"] == "http.disconnect":
            raise httpx.ReadError("the site is gone")
        data = part.get("body", b"")
        total += len(data)
        if total > LARGEST_REQUEST:
            raise TooLargeError
        yield data
        if not part.get("more_body", False):
            return


async def _relay(response: httpx.Response, send: Send) -> None:
    headers = [(k.lower(), v) for k, v in response.headers.raw if k.lower() not in _HOP_BY_HOP]
    kept = [(k, v) for k, v in headers if k not in (b"date", b"server")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
    async for data in response.aiter_raw():
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, document: dict[str, str]) -> None:
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def make_gateway(superlink_port: int, authority: Path, about: dict[str, str]) -> Gateway:
    """Make the application before SuperLink on this machine.

    Parameters
    ----------
    superlink_port : int
        On the loopback interface.
    authority : Path
        Certificate that SuperLink's own is checked by.
    about : dict
        What ``GET /health`` answers.
    """
    client = httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{superlink_port}",
        verify=ssl.create_default_context(cafile=str(authority)),
        timeout=httpx.Timeout(120.0, connect=5.0),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        trust_env=False,
    )
    return Gateway(client, about)
