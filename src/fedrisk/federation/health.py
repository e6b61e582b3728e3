"""Health of a supervised process over HTTP.

Who asks from this machine is told why something is not ready; anybody else, such as a kubelet, is
told whether it is.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

from fedrisk.errors import FedriskError, PortInUseError

#: What callers from other machines are told.
TOLD = frozenset({"alive", "ready"})
#: Gives whether it is ready, and details.
Report = Callable[[], tuple[bool, dict[str, Any]]]
#: Seconds for a probe to say what it wants.
PROBE_SECONDS = 10.0
#: Where probes are answered unless somebody says otherwise.
LOOPBACK = "127.0.0.1"


class _Probes(ThreadingHTTPServer):
    """Answers each probe in a thread of its own; one that went away is no error."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: an answer that nobody waits for is not worth a stack trace."""


@contextmanager
def serve_health(port: int, report: Report, listen: str = LOOPBACK) -> Iterator[int]:
    """Answer ``/health`` (200 while this process lives) and ``/ready`` (200 or 503, details).

    Parameters
    ----------
    port : int
        0 takes a free one.
    report : callable
        An error of ours that it raises is told as not ready, with its reason.
    listen : str
        Address to listen on. Callers from other machines get no details.

    Yields
    ------
    int
        The port.

    Raises
    ------
    PortInUseError
        When the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        """One probe."""

        timeout = PROBE_SECONDS

        def do_GET(self) -> None:
            status, document = _answer(self.path, report)
            if not _is_near(str(self.client_address[0])):
                document = {name: document[name] for name in TOLD & {*document}}
            body = json.dumps(document, default=str).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes are not worth a line each."""

    try:
        server = _Probes((listen, port), Handler)
    except OSError as error:
        raise PortInUseError(
            f"health port {port} on {listen}: {error.strerror}",
            hint="health_listen and health_port in the settings file say where to listen",
        ) from None
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def _is_near(address: str) -> bool:
    """Whether somebody asks from this machine."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _answer(path: str, report: Report) -> tuple[int, dict[str, Any]]:
    if path == "/health":
        return 200, {"alive": True}
    if path != "/ready":
        return 404, {}
    try:
        ready, details = report()
    except (FedriskError, OSError) as error:
        return 503, {"ready": False, "fault": str(error)}
    return 200 if ready else 503, {"ready": ready} | details
