"""Health of a supervised process over HTTP, and its log lines as JSON."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TextIO

from fedrisk.errors import PortInUseError

#: Gives whether it is ready, and details.
Report = Callable[[], tuple[bool, dict[str, Any]]]


@contextmanager
def serve_health(port: int, report: Report) -> Iterator[int]:
    """Answer ``/health`` (200 while this process lives) and ``/ready`` (200 or 503, details).

    Parameters
    ----------
    port : int
        Of the loopback interface; 0 takes a free one.
    report : callable

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

        def do_GET(self) -> None:
            ready, details = report()
            status = {"/health": 200, "/ready": 200 if ready else 503}.get(self.path, 404)
            body = json.dumps({"ready": ready} | details if status != 404 else {}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes are not worth a line each."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise PortInUseError(
            f"health port {port}: {error.strerror}", hint="choose another health_port"
        ) from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


class JsonLog:
    """Writes events as JSON, one a line.

    Parameters
    ----------
    clock : callable
        The time, UTC.
    stream : text stream
    """

    def __init__(self, clock: Callable[[], datetime], stream: TextIO = sys.stdout) -> None:
        self._clock = clock
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: str, *, level: str = "info", **facts: object) -> None:
        """Write one event."""
        time = self._clock().isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "level": level, "event": event} | facts)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()
