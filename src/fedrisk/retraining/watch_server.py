"""The watch over HTTP: whether it lives, its figures, and what may be asked of it.

``/health`` is open. Figures want the token of whoever scrapes, or that of whoever operates;
operations want the latter, on loopback too. Tokens are read from their files with every request, so
that a new one counts at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from fedrisk.errors import (
    CredentialsError,
    FedriskError,
    OverloadedError,
    PortInUseError,
    RetrainingError,
    UsageError,
)
from fedrisk.probes import answering
from fedrisk.retraining.operation import LONGEST_BODY, Operation, read_asked
from fedrisk.retraining.operation_store import OperationStore
from fedrisk.token_file import admits, read_tokens

#: Seconds that a caller may take to say what it wants.
PATIENCE = 10.0
PATH = "/operations"
#: Seconds after which one who was turned away may ask again.
LATER = 30
_JSON = "application/json"


@dataclass(frozen=True)
class Tokens:
    """Who may do what, by the content of files.

    Attributes
    ----------
    scraping, operating : Path or None
        None where nobody has to prove anything to read figures, and where nobody may operate.
    """

    scraping: Path | None = None
    operating: Path | None = None

    def may_scrape(self, header: str) -> bool:
        """Whether a caller may read figures."""
        files = [each for each in (self.scraping, self.operating) if each is not None]
        return not files or any(admits(each, header) for each in files)

    def may_operate(self, header: str) -> bool:
        """Whether a caller may ask for operations."""
        return self.operating is not None and admits(self.operating, header)

    def check(self) -> None:
        """Raise UsageError where a file cannot be read or holds no token."""
        for each in (self.scraping, self.operating):
            if each is not None and not read_tokens(each):
                raise UsageError(
                    f"{each} holds no token", hint="such as `openssl rand -hex 32` makes one"
                )


@dataclass(frozen=True)
class Desk:
    """Takes what is asked for.

    Parameters
    ----------
    store : OperationStore
    clock : callable
        The time, with its zone.
    wake : callable
        Called when there is something to do.
    told : callable
        Last lines of the command that runs, and how many there were in all.
    """

    store: OperationStore
    clock: Callable[[], datetime]
    wake: Callable[[], object]
    told: Callable[[], tuple[tuple[str, ...], int]]

    def take(self, body: bytes) -> dict[str, Any]:
        """Keep what is asked for, and have it run."""
        now = self.clock()
        operation = self.store.add(read_asked(body, now), now)
        self.wake()
        return operation.document()

    def tell(self, identifier: str) -> dict[str, Any] | None:
        """What became of an operation."""
        operation = self.store.find(identifier)
        return None if operation is None else self._document(operation)

    def listed(self) -> dict[str, Any]:
        """The newest operations."""
        return {"operations": [each.document() for each in self.store.listed()]}

    def _document(self, operation: Operation) -> dict[str, Any]:
        document = operation.document()
        if operation.state == "running":
            lines, told = self.told()
            document |= {"lines": list(lines), "told": told}
        return document


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    timeout = PATIENCE
    registry: CollectorRegistry
    tokens: Tokens
    desk: Desk | None

    def do_GET(self) -> None:
        """Health, figures, operations."""
        if self.path == "/health":
            self._answer(200, b"live\n")
        elif self.path == "/metrics":
            if self.tokens.may_scrape(self._credentials):
                self._answer(200, generate_latest(self.registry), CONTENT_TYPE_LATEST)
            else:
                self._answer(401, b"")
        else:
            self._operations(self._tell)

    def do_POST(self) -> None:
        """Take an operation."""
        self._operations(self._take)

    def _operations(self, answer: Callable[[Desk], None]) -> None:
        if self.desk is None or not (self.path + "/").startswith(PATH + "/"):
            self._answer(404, b"")
            return
        try:
            if not self.tokens.may_operate(self._credentials):
                raise CredentialsError("operations want the operator's token")
            answer(self.desk)
        except FedriskError as error:
            self._error(error)

    def _tell(self, asked: Desk) -> None:
        identifier = self.path.removeprefix(PATH).removeprefix("/")
        found = asked.tell(identifier) if identifier else asked.listed()
        if found is None:
            self._json(404, {"error": "no such operation", "hint": ""})
        else:
            self._json(200, found)

    def _take(self, asked: Desk) -> None:
        if self.path != PATH:
            self._json(404, {"error": f"only {PATH} takes operations", "hint": ""})
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self._json(411, {"error": "a Content-Length is needed", "hint": ""})
        elif int(length) > LONGEST_BODY:
            self.close_connection = True
            self._json(413, {"error": f"at most {LONGEST_BODY:,} bytes", "hint": ""})
        else:
            self._json(202, asked.take(self.rfile.read(int(length))))

    @property
    def _credentials(self) -> str:
        return str(self.headers.get("Authorization", ""))

    def _error(self, error: FedriskError) -> None:
        self._json(_status(error), {"error": error.message, "hint": error.hint})

    def _json(self, status: int, document: dict[str, Any]) -> None:
        self._answer(status, json.dumps(document).encode() + b"\n", _JSON)

    def _answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", str(LATER))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Scrapes are not worth a line each."""


class _Server(ThreadingHTTPServer):
    """Answers each request in a thread of its own; one that went away is no error."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell what went wrong, but not that nobody waited for an answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve_watch(
    registry: CollectorRegistry,
    host: str,
    port: int,
    tokens: Tokens = Tokens(),
    desk: Desk | None = None,
) -> Iterator[int]:
    """Answer ``/health`` with 200, ``/metrics`` and operations, while the context lasts.

    Parameters
    ----------
    registry : CollectorRegistry
    host : str
        Beyond loopback a token is needed.
    port : int
        0 takes a free one.
    tokens : Tokens
    desk : Desk, optional
        Without it nothing can be asked for.

    Yields
    ------
    int
        The port.

    Raises
    ------
    UsageError
        When the host is not loopback and there is no token, or a token's file holds none.
    PortInUseError
        When the port is taken.
    """
    _check_host(host, tokens)
    tokens.check()

    values = {"registry": registry, "tokens": tokens, "desk": desk}
    try:
        server = _Server((host, port), type("Handler", (_Handler,), values))
    except OSError as error:
        raise PortInUseError(
            f"metrics port {port}: {error.strerror}", hint="choose another --metrics-port"
        ) from None
    with answering(server) as number:
        yield number


def _status(error: FedriskError) -> int:
    """A status; a queue that is full is the asker's to wait for, not a fault of the server's."""
    if isinstance(error, OverloadedError):
        return 429
    return 409 if isinstance(error, RetrainingError) else error.http_status


def _check_host(host: str, tokens: Tokens) -> None:
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise UsageError(f"--metrics-host {host!r} is no address", hint="127.0.0.1") from None
    if tokens == Tokens() and not address.is_loopback:
        raise UsageError(
            f"figures are not served on {host} without a token",
            hint="name a file with one by --metrics-token-file, or stay on 127.0.0.1",
        )
