"""Probes and figures of a long-running process over HTTP: ``/health``, ``/ready``, ``/metrics``.

Probes need no credentials. Who asks from this machine is told why something is not ready; anybody
else, such as a kubelet, is told whether it is. Figures are told without a token on loopback alone.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedrisk.errors import FedriskError, PortInUseError, UsageError
from fedrisk.token_file import admits, read_tokens

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

#: Gives whether it is ready, and details.
Report = Callable[[], tuple[bool, dict[str, Any]]]
#: Status, body and content type.
Answer = tuple[int, bytes, str]
#: Seconds for a probe to say what it wants.
PROBE_SECONDS = 10.0
#: What callers from other machines are told.
TOLD = frozenset({"alive", "ready"})
LOOPBACK = "127.0.0.1"
JSON = "application/json"


@dataclass(frozen=True)
class Place:
    """Where a process answers, and to whom it tells its figures.

    Attributes
    ----------
    host : str
        An address of this machine.
    port : int
        0 takes a free one.
    token_file : Path, optional
        Holds what a scrape sends as its bearer token; read at each, so that a changed one counts.
    """

    host: str = LOOPBACK
    port: int = 0
    token_file: Path | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone reaches it.

        >>> Place("::1").is_loopback, Place("0.0.0.0").is_loopback
        (True, False)
        """
        return self.host == "localhost" or is_near(self.host)

    @property
    def tells_figures(self) -> bool:
        """Whether anybody may be told figures: with a token, or on loopback."""
        return self.token_file is not None or self.is_loopback

    def check(self) -> None:
        """Refuse what cannot work.

        Raises
        ------
        UsageError
            When the host is no address, or the token cannot be read or is empty.
        """
        try:
            ip_address(LOOPBACK if self.host == "localhost" else self.host)
        except ValueError:
            raise UsageError(
                f"{self.host!r} is no address to listen on", hint="such as 127.0.0.1 or 0.0.0.0"
            ) from None
        if self.token_file is not None and not read_tokens(self.token_file):
            raise UsageError(
                f"{self.token_file}: no token for figures can be read",
                hint="put one there: openssl rand -hex 32",
            )

    def admits(self, given: str) -> bool:
        """Whether an ``Authorization`` header opens the figures."""
        if self.token_file is None:
            return self.is_loopback
        return admits(self.token_file, given)


class _Server(ThreadingHTTPServer):
    """Answers each request in a thread of its own; one that went away is no error."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: an answer that nobody waits for is not worth a stack trace."""


class _ServerOfIPv6(_Server):
    address_family = socket.AF_INET6


@contextmanager
def serve_probes(
    place: Place, report: Report | None = None, figures: CollectorRegistry | None = None
) -> Iterator[int]:
    """Answer while the context lasts.

    ``/health`` is 200 while this process lives; ``/ready`` is 200 or 503, with details;
    ``/metrics`` has the figures for Prometheus.

    Parameters
    ----------
    place : Place
    report : callable, optional
        An error of ours that it raises is told as not ready, with its reason. Without it there is
        no ``/ready``.
    figures : CollectorRegistry, optional
        Without it there is no ``/metrics``.

    Yields
    ------
    int
        The port.

    Raises
    ------
    UsageError
        When the place cannot be listened on, or its token cannot be read.
    PortInUseError
        When the port is taken.
    """
    place.check()

    class Handler(BaseHTTPRequestHandler):
        """One request."""

        timeout = PROBE_SECONDS

        def do_GET(self) -> None:
            status, body, kind = self._found(is_near(str(self.client_address[0])))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if status == 401:
                self.send_header("WWW-Authenticate", "Bearer")
            self.end_headers()
            self.wfile.write(body)

        def _found(self, near: bool) -> Answer:
            if self.path == "/health":
                return _json(200, {"alive": True})
            if self.path == "/ready" and report is not None:
                status, document = _readiness(report)
                told = document if near else {k: v for k, v in document.items() if k in TOLD}
                return _json(status, told)
            if self.path == "/metrics" and figures is not None:
                return _figures(place, figures, self.headers.get("Authorization", ""))
            return _json(404, {})

        def log_message(self, *_: object) -> None:
            """Probes are not worth a line each."""

    try:
        kind = _ServerOfIPv6 if ":" in place.host else _Server
        server = kind((place.host, place.port), Handler)
    except OSError as error:
        raise PortInUseError(
            f"health port {place.port} on {place.host}: {error.strerror}",
            hint="health_listen and health_port in the settings file say where to listen",
        ) from None
    with answering(server) as port:
        yield port


@contextmanager
def answering(server: ThreadingHTTPServer) -> Iterator[int]:
    """Let a bound server answer, in a thread, while the context lasts; gives its port."""
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def is_near(address: str) -> bool:
    """Whether an address is of this machine's loopback interface."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _json(status: int, document: dict[str, Any]) -> Answer:
    return status, json.dumps(document, default=str).encode(), JSON


def _readiness(report: Report) -> tuple[int, dict[str, Any]]:
    try:
        ready, details = report()
    except (FedriskError, OSError) as error:
        return 503, {"ready": False, "fault": str(error)}
    return 200 if ready else 503, {"ready": ready} | details


def _figures(place: Place, figures: CollectorRegistry, given: str) -> Answer:
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    if not place.tells_figures:
        return _json(403, {"error": "no token is set, and figures need one beyond loopback"})
    if not place.admits(given):
        return _json(401, {"error": "figures need the token of their own, as bearer token"})
    try:
        return 200, generate_latest(figures), CONTENT_TYPE_LATEST
    except (FedriskError, OSError, ValueError) as error:
        return _json(500, {"error": type(error).__name__})
