"""The coordinator's only door: Flower's Fleet API to sites, nothing else of SuperLink.

SuperLink serves sites (Fleet API), operators (Control API: register nodes, run code) and its own
processes on one port, and the Control API asks for no credentials. So SuperLink listens on the
loopback interface by certificates of its own, and this application stands before it: it ends the
sites' TLS, passes the Fleet calls that a registered SuperNode makes, and answers 404 otherwise.

Whoever calls is known before a byte of the body is read (`fedrisk.federation.admission`): strangers
take none of SuperLink's places, and a removed site is refused with its next call.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from fedrisk.errors import FedriskError
from fedrisk.federation.admission import Standing
from fedrisk.federation.provisioning.connection import STANDING
from fedrisk.federation.traffic import Traffic

logger = logging.getLogger(__name__)

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
#: Bytes of all requests that are on their way at one time: SuperLink holds each as a whole before
#: it knows who sent it.
LARGEST_TOTAL = 512 * 1024 * 1024
#: Requests that SuperLink is given at one time; others wait their turn for `TURN_SECONDS`.
LARGEST_NUMBER = 64
TURN_SECONDS = 10.0
#: Of these, by one site at one time; its SuperNode makes four.
LARGEST_NUMBER_A_SITE = 16
#: Seconds between two lines of the log about refusals of one site, and of all strangers.
TELL_SECONDS = 60.0
#: Seconds between two writings of what came through.
TRAFFIC_SECONDS = 5.0
#: Under this name a server may put into a scope what is to be called once the caller is known.
MEMBER = "fedrisk.member"
#: Seconds for the next part of a request, for SuperLink's answer, and for all of one call.
PART_SECONDS = 30.0
ANSWER_SECONDS = 60.0
CALL_SECONDS = 600.0
#: Headers that belong to one connection and are not passed on (RFC 9110, 7.6.1), and those by which
#: a site could tell SuperLink to come from elsewhere.
_NOT_PASSED = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer "
    b"transfer-encoding upgrade host expect forwarded x-forwarded-for x-forwarded-proto "
    b"x-forwarded-host x-forwarded-port x-real-ip".split()
)
Headers = list[tuple[bytes, bytes]]
#: Tells whose call this is by its headers, names in lower case; `admission.Admission.judge`.
Judge = Callable[[Headers], Standing]


#: What a SuperNode that is not let in is told: as SuperLink does, but with the reason, which it
#: prints. 401 would end it without a word, and is for one that runs: there it ends in order.
ACTIVATE = "/v1/fleet/activate-node"
NOT_ACTIVATED, NOT_ACTIVATED_CODE = 412, 2004
NOT_ACTIVATED_WORDS = "Failed to activate SuperNode."


class _NotPassedError(Exception):
    """A request that goes no further, with the status that says why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status

    def document(self) -> dict[str, Any]:
        """What the caller is told."""
        return {"detail": str(self)}


class _NotActivatedError(_NotPassedError):
    """A SuperNode that is not let in."""

    def __init__(self, reason: str) -> None:
        super().__init__(NOT_ACTIVATED, reason)

    def document(self) -> dict[str, Any]:
        """An error as Flower writes it."""
        words = {"code": NOT_ACTIVATED_CODE, "detail": NOT_ACTIVATED_WORDS}
        return words | {"extra": str(self)}


@dataclass
class _Call:
    """One call: the bytes that SuperLink was given of it."""

    receive: Receive
    total: int = 0


@dataclass
class _Refusals:
    """Refusals as the log has them: a line now and then, however many there are."""

    counts: Counter[str] = field(default_factory=Counter)
    told: dict[str, float] = field(default_factory=dict)

    def note(self, standing: Standing) -> None:
        """Count one; log it unless one of the same caller was logged a moment ago."""
        name, now = standing.site, time.monotonic()
        self.counts[name] += 1
        if now - self.told.get(name, -TELL_SECONDS) < TELL_SECONDS:
            return
        who = f"site {name}" if name else "a stranger"
        logger.warning("refused %s: %s (%d so far)", who, standing.reason, self.counts[name])
        self.told[name] = now


class Gateway:
    """An ASGI application between sites and SuperLink.

    Parameters
    ----------
    client : httpx.AsyncClient
        Reaches SuperLink by its base address.
    about : dict
        What ``GET /health`` answers.
    judge : callable
        Tells whose call this is.
    largest_request, largest_total : int
        Bytes of one request, and of all that are on their way.
    largest_number_a_site : int
        Calls of one site at one time.
    part_seconds, call_seconds : float
        For the next part of a request, and for all of one call.
    folder : Path, optional
        Where it is written who came through and who was refused; nowhere without.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        about: dict[str, str],
        judge: Judge,
        *,
        largest_request: int = LARGEST_REQUEST,
        largest_total: int = LARGEST_TOTAL,
        largest_number_a_site: int = LARGEST_NUMBER_A_SITE,
        part_seconds: float = PART_SECONDS,
        call_seconds: float = CALL_SECONDS,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._about = about
        self._judge = judge
        self._largest_request = largest_request
        self._largest_total = largest_total
        self._largest_number_a_site = largest_number_a_site
        self._part_seconds = part_seconds
        self._call_seconds = call_seconds
        self._on_their_way = 0
        self._calls: Counter[str] = Counter()
        self._refusals = _Refusals()
        self._folder, self._clock = folder, clock
        self.traffic = Traffic() if folder is None else Traffic.read(folder)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] != "http":
            return
        elif _is_call(scope):
            await self._pass(scope, receive, send)
        elif scope["path"] == "/health" and scope["method"] == "GET":
            await _answer(send, 200, self._about)
        elif scope["path"] == STANDING and scope["method"] == "GET":
            await self._tell_standing(scope, send)
        else:
            await _answer(send, 404, {"detail": "not a call that sites make"})

    async def _live(self, receive: Receive, send: Send) -> None:
        telling = asyncio.create_task(self._tell_traffic())
        while True:
            event = (await receive())["type"]
            if event == "lifespan.shutdown":
                telling.cancel()
                await self._client.aclose()
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return

    async def _tell_traffic(self) -> None:
        while self._folder is not None:
            await asyncio.to_thread(self.traffic.write, self._folder)
            await asyncio.sleep(TRAFFIC_SECONDS)

    async def _tell_standing(self, scope: Scope, send: Send) -> None:
        try:
            await _answer(send, 200, {"site": self._admitted(scope)})
        except _NotPassedError as reason:
            await _answer(send, reason.status, reason.document())

    def _admitted(self, scope: Scope) -> str:
        """Whose call this is; a refusal when it is nobody's."""
        try:
            standing = self._judge([(name.lower(), value) for name, value in scope["headers"]])
        except FedriskError as error:
            logger.error("nobody can be let in: %s", error.message)
            raise _NotPassedError(503, "the coordinator cannot read its list of sites") from None
        if standing.reason:
            self._refusals.note(standing)
            self.traffic.turned_away(standing.site)
            if scope["path"] == ACTIVATE:
                raise _NotActivatedError(standing.reason)
            raise _NotPassedError(401, standing.reason)
        scope.get(MEMBER, lambda: None)()
        return standing.site

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            site = self._admitted(scope)
            self.traffic.admitted(site, self._clock())
            if self._calls[site] >= self._largest_number_a_site:
                raise _NotPassedError(503, "too many calls of this site at one time")
        except _NotPassedError as reason:
            await _answer(send, reason.status, reason.document(), (b"connection", b"close"))
            return
        self._calls[site] += 1
        try:
            await self._pass_known(scope, receive, send)
        finally:
            self._calls[site] -= 1

    async def _pass_known(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = _Call(receive)
        try:
            async with asyncio.timeout(self._call_seconds):
                response = await self._ask(scope, call)
                try:
                    await _relay(response, send)
                finally:
                    await response.aclose()
        except _NotPassedError as reason:
            # What is left of the request is not read.
            await _answer(send, reason.status, reason.document(), (b"connection", b"close"))
        except TimeoutError:
            return  # the server cuts a connection whose answer has no end
        finally:
            self._on_their_way -= call.total

    async def _ask(self, scope: Scope, call: _Call) -> httpx.Response:
        headers = _onward(scope["headers"])
        if int(dict(headers).get(b"content-length", 0)) > self._largest_request:
            raise self._too_large()
        request = httpx.Request(
            "POST",
            self._client.base_url.copy_with(path=scope["path"]),
            headers=headers,
            content=self._body(call),
            extensions={"timeout": self._client.timeout.as_dict()},
        )
        try:
            return await self._client.send(request, stream=True)
        except httpx.TransportError:
            raise _NotPassedError(503, "the coordinator is starting, or busy") from None

    async def _body(self, call: _Call) -> AsyncIterator[bytes]:
        more = True
        while more:
            part = await self._next_part(call.receive)
            data = part.get("body", b"")
            call.total += len(data)
            self._on_their_way += len(data)
            if call.total > self._largest_request:
                raise self._too_large()
            if self._on_their_way > self._largest_total:
                raise _NotPassedError(503, "too much at one time; try again")
            yield data
            more = part.get("more_body", False)

    async def _next_part(self, receive: Receive) -> MutableMapping[str, Any]:
        try:
            part = await asyncio.wait_for(receive(), self._part_seconds)
        except TimeoutError:
            raise _NotPassedError(408, f"nothing more for {self._part_seconds:g} s") from None
        if part["type"] == "http.disconnect":
            raise _NotPassedError(499, "the site is gone")
        return part

    def _too_large(self) -> _NotPassedError:
        return _NotPassedError(413, f"more than {self._largest_request} bytes")


def _is_call(scope: Scope) -> bool:
    """Whether this is a site's call, spelt as Flower spells it: no encoded letter, no query."""
    path = scope["path"]
    spelt = scope.get("raw_path") or path.encode()
    plain = spelt == path.encode() and not scope.get("query_string")
    return plain and path in FLEET_CALLS and scope["method"] == "POST"


def _onward(headers: Headers) -> Headers:
    """The headers of one side that the other side gets, names in lower case."""
    lower = [(name.lower(), value) for name, value in headers]
    named = b",".join(value for name, value in lower if name == b"connection")
    left = _NOT_PASSED | {word.strip().lower() for word in named.split(b",")}
    if any(name == b"transfer-encoding" for name, _ in lower):
        left |= {b"content-length"}  # RFC 9112, 6.3: the encoding counts, not the length
    return [(name, value) for name, value in lower if name not in left]


async def _relay(response: httpx.Response, send: Send) -> None:
    headers = _onward(response.headers.raw)
    kept = [(name, value) for name, value in headers if name not in (b"date", b"server")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
    try:
        async for data in response.aiter_raw():
            await send({"type": "http.response.body", "body": data, "more_body": True})
    except httpx.HTTPError:
        return  # SuperLink ended in between: the server cuts an answer that has no end
    await send({"type": "http.response.body", "body": b""})


async def _answer(
    send: Send, status: int, document: dict[str, Any], *others: tuple[bytes, bytes]
) -> None:
    body = json.dumps(document).encode()
    length = (b"content-length", b"%d" % len(body))
    headers = [(b"content-type", b"application/json"), length, *others]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def make_gateway(
    superlink_port: int,
    authority: Path,
    about: dict[str, str],
    judge: Judge,
    folder: Path | None = None,
) -> Gateway:
    """Make the application before SuperLink on this machine.

    Parameters
    ----------
    superlink_port : int
        On the loopback interface.
    authority : Path
        Certificate that SuperLink's own is checked by.
    about : dict
        What ``GET /health`` answers.
    judge : callable
        Tells whose call this is.
    folder : Path, optional
        Where it is written who came through and who was refused.
    """
    client = httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{superlink_port}",
        verify=ssl.create_default_context(cafile=str(authority)),
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=5.0, pool=TURN_SECONDS),
        limits=httpx.Limits(max_connections=LARGEST_NUMBER),
        trust_env=False,
    )
    return Gateway(client, about, judge, folder=folder)
