"""HTTP without knowledge of models: bodies with limits, request ids, errors as JSON, headers."""

from __future__ import annotations

import logging
import math
import re
import secrets
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Protocol

import orjson
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedrisk.errors import (
    AccessError,
    DataError,
    FedriskError,
    IssuerError,
    OverloadedError,
    RateLimitError,
)
from fedrisk.logs import origin
from fedrisk.serving.journal import Journal, concerns
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.request import violation_document
from fedrisk.serving.time_limits import LATE

_log = logging.getLogger("fedrisk.serving")
#: Identifiers that are taken from the caller: nothing that could break a log line or a header.
_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
JSON = b"application/json"
#: Sent with every answer. Answers are about people: nothing on the way may keep them.
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
#: The same as bytes, as they stand in an answer.
_HEADER_LINES = b"".join(name + b": " + value + b"\r\n" for name, value in _HEADERS)
#: In a scope: the request's headers by name.
_BY_NAME = "fedrisk.headers"
#: Told to a caller when the fault is ours and unforeseen.
INTERNAL = "the server failed on this request"


def header(scope: Scope, name: bytes) -> bytes | None:
    """First value of a request header, its name in lower case."""
    known: dict[bytes, bytes] | None = scope.get(_BY_NAME)
    if known is None:
        # Of several values the first counts: it is the last that is put in.
        known = scope[_BY_NAME] = dict(reversed(scope["headers"]))
    return known.get(name)


def media_type(scope: Scope) -> bytes:
    """Content type of the request without its parameters; JSON where none is given."""
    given = header(scope, b"content-type")
    if given is None or given == JSON:
        return JSON
    return given.split(b";", 1)[0].strip().lower()


def check_plain(scope: Scope) -> None:
    """Refuse a body that is packed.

    Raises
    ------
    HTTPException
        415 when it has a content encoding.
    """
    given = header(scope, b"content-encoding")
    if given is not None and given.strip().lower() not in (b"", b"identity"):
        raise HTTPException(415, "send the body as it is, without a Content-Encoding")


def new_ids() -> Iterator[str]:
    """Identifiers that no other process makes: a random beginning, then a number.

    A fourth of the cost of a random identifier for each request. Who can guess one gains nothing.
    """
    start = secrets.token_hex(8)
    return (f"{start}{number:016x}" for number in count())


def request_id(scope: Scope, ids: Iterator[str]) -> str:
    """The caller's X-Request-ID if it is sane, otherwise the next of these."""
    given = header(scope, b"x-request-id")
    if given is not None and _SANE_ID.fullmatch(given):
        return given.decode("ascii")
    return next(ids)


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body.

    Parameters
    ----------
    limit : int
        Most bytes to take.

    Raises
    ------
    HTTPException
        413 when the body is longer, 408 when it takes too long, 400 when the caller goes away in
        the middle.
    """
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > limit:
        raise HTTPException(413, _too_large(limit))
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts = [body]
        size = len(body)
        while message.get("more_body") and size <= limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HTTPException(400, "the request ended before its body did")
            if LATE in scope:
                raise HTTPException(408, "the body took too long", {"connection": "close"})
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        body = b"".join(parts)
    check_length(body, limit)
    return body


def check_length(body: bytes, limit: int) -> None:
    """Raise HTTPException 413 when a body is longer than so many bytes."""
    if len(body) > limit:
        raise HTTPException(413, _too_large(limit))


def _too_large(limit: int) -> str:
    return f"the body is too large: at most {limit} bytes are taken"


async def respond(
    send: Send,
    body: bytes,
    status: int = 200,
    content_type: bytes = JSON,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """Send a whole answer."""
    head = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def error_document(error: Exception, identifier: str) -> tuple[int, dict[str, Any]]:
    """HTTP status and JSON of an error; of an unforeseen one it says nothing but that."""
    if isinstance(error, HTTPException):
        return error.status_code, {"error": error.detail, "request_id": identifier}
    if not isinstance(error, FedriskError):
        return 500, {"error": INTERNAL, "request_id": identifier}
    document: dict[str, Any] = {"error": error.message, "hint": error.hint}
    if isinstance(error, DataError):
        document["detail"] = [violation_document(violation) for violation in error.violations]
        document["total"] = error.total
    return error.http_status, document | {"request_id": identifier}


def answer_to(error: Exception, identifier: str) -> tuple[int, dict[str, Any]]:
    """As `error_document`, and an unforeseen error is logged by kind and place."""
    status, document = error_document(error, identifier)
    if status == 500 and not isinstance(error, FedriskError):
        told = {"request_id": identifier}
        _log.error("request %s failed: %s", identifier, origin(error), extra=told)
    return status, document


def error_headers(error: Exception) -> tuple[tuple[bytes, bytes], ...]:
    """What HTTP wants beside some errors: how to prove oneself, when to come again."""
    if isinstance(error, OverloadedError | IssuerError):
        return ((b"retry-after", b"1"),)
    if isinstance(error, RateLimitError):
        return ((b"retry-after", b"%d" % max(1, math.ceil(error.seconds))),)
    if isinstance(error, AccessError):
        return ((b"www-authenticate", f"Bearer {error.challenge}".strip().encode("latin-1")),)
    if isinstance(error, HTTPException):
        given = dict(error.headers or {}).items()
        return tuple((key.encode("latin-1"), value.encode("latin-1")) for key, value in given)
    return ()


class AtOnce(Protocol):
    """An endpoint that answers a whole request without waiting for anything."""

    def at_once(self, scope: Scope, body: bytes) -> bytes:
        """The answer's body, JSON.

        Raises
        ------
        MustWaitError
            When this request has to wait for something; nothing has been done for it then.
        """


class MustWaitError(Exception):
    """A request that cannot be answered at once, but can by the endpoint's usual way."""


class Envelope:
    """What every request gets: an id, safe headers, and an answer whatever goes wrong.

    Parameters
    ----------
    app : ASGI application
    failed : callable
        Told path and status of every answer that is an error.
    lifecycle : Lifecycle, optional
        Turns requests away while the process is late; None where probes must always be answered.
    journal : Journal, optional
        Gets a line for every prediction request, however it was answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        failed: Callable[[str, int], None],
        lifecycle: Lifecycle | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.app = app
        self.failed = failed
        self.lifecycle = lifecycle
        self.journal = journal
        self._ids = new_ids()

    def at_once(self, scope: Scope, body: bytes) -> tuple[int, bytes] | None:
        """Answer a whole request at once, as `__call__` does; the endpoint must be `AtOnce`.

        Parameters
        ----------
        scope : Scope
        body : bytes

        Returns
        -------
        tuple of int and bytes, or None
            The status; and headers and body as they are sent. None when it has to wait.
        """
        journal = self.journal
        if journal is not None and journal.strict:
            return None
        endpoint: Any = self.app
        identifier = scope["request_id"] = request_id(scope, self._ids)
        status = 200
        extra: tuple[tuple[bytes, bytes], ...] = ()
        try:
            if self.lifecycle is not None:
                self.lifecycle.admit()
            answer = endpoint.at_once(scope, body)
        except MustWaitError:
            return None
        except Exception as error:  # noqa: BLE001 whatever goes wrong, there is an answer
            status, document = answer_to(error, identifier)
            answer, extra = orjson.dumps(document), error_headers(error)
            self.failed(scope["path"], status)
        if journal is not None:
            journal.add(scope, status)
        return status, _rest(answer, identifier, extra)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identifier = scope["request_id"] = request_id(scope, self._ids)
        extra = [*_HEADERS, (b"x-request-id", identifier.encode())]
        journal = self.journal if self.journal is not None and concerns(scope) else None
        unkept = journal is not None and journal.strict
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status, unkept
            if message["type"] == "http.response.start":
                if unkept and journal is not None:
                    unkept = False  # asked once: the answer that there is no line needs none
                    await _keep(journal, scope, message["status"])
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *extra]
                if status >= 400:
                    self.failed(scope["path"], status)
            await send(message)

        try:
            if self.lifecycle is not None:
                self.lifecycle.admit()
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            if status:
                raise
            code, document = answer_to(error, identifier)
            await respond(
                send_with_headers, orjson.dumps(document), code, headers=error_headers(error)
            )
        finally:
            if journal is not None and not journal.strict:
                journal.add(scope, status)


def _rest(answer: bytes, identifier: str, extra: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """An answer after its status and date: headers, an empty line, body."""
    more = b"".join(name + b": " + value + b"\r\n" for name, value in extra) if extra else b""
    return (
        b"content-type: application/json\r\ncontent-length: %d\r\n%b%bx-request-id: %b\r\n\r\n%b"
        % (
            len(answer),
            more,
            _HEADER_LINES,
            identifier.encode(),
            answer,
        )
    )


async def _keep(journal: Journal, scope: Scope, status: int) -> None:
    if not await journal.keep(scope, status):
        raise OverloadedError(
            "the audit journal takes no line, and nothing is answered without one",
            hint="come again in a second",
        )
