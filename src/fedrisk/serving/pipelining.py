"""What one connection may make the others wait for, and how much of it is kept meanwhile.

One read may bring thousands of requests. uvicorn parses and queues all of them in one turn of the
event loop, and reads on while they wait. Here a read that is long is taken in pieces, with a turn
for the other connections between them, and nothing more is read while requests wait.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

#: Bytes that are parsed in one turn where requests begin in them.
PIECE = 16 << 10
#: Bytes that may come in a row without the end of a head or a part of a body: heads, trailers.
MOST_HEAD = 64 << 10
_TOO_LONG = STATUS_LINE[431] + b"connection: close\r\ncontent-length: 0\r\n\r\n"


class Flow(FlowControl):
    """uvicorn's flow control that reads on only when nothing that was read waits.

    Parameters
    ----------
    transport
    pipeline : sized
        The requests that wait behind the running one.
    """

    def __init__(self, transport: Any, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline
        #: What was read and is not parsed yet.
        self.rest = memoryview(b"")

    def resume_reading(self) -> None:
        """Read on, unless something waits: its end asks again."""
        if not self._pipeline and not self.rest:
            super().resume_reading()


class PacedConnection(HttpToolsProtocol):
    """uvicorn's connection, taken in pieces, its heads and trailers bounded.

    Attributes
    ----------
    begun : int
        Number of requests that have begun.
    """

    begun = 0
    #: Bytes since the latest end of a head or part of a body.
    _barren = 0
    _scheduled = False
    flow: Flow

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)

    def on_message_begin(self) -> None:
        """Count requests: their scopes may be equal."""
        self.begun += 1
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._barren = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Go on with what waits for the answers before it."""
        super().on_response_complete()
        if self.flow.rest and not self.pipeline:
            self._schedule()

    def data_received(self, data: bytes) -> None:
        """Take what arrives."""
        if len(data) <= PIECE and not self.flow.rest:
            self._take(data)
            return
        self.flow.rest = memoryview(b"".join((self.flow.rest, data)))
        self._go_on()

    def _take(self, data: bytes | memoryview) -> None:
        self._barren += len(data)
        super().data_received(data)  # type: ignore[arg-type]
        if self._barren > MOST_HEAD and not self.transport.is_closing():
            cycle: Any = self.cycle
            if cycle is None or cycle.response_complete:
                self.transport.write(_TOO_LONG)
            self.transport.close()

    def _go_on(self) -> None:
        """Take what is left of a long read, up to the next piece in which a request begins."""
        self._scheduled = False
        flow, begun = self.flow, self.begun
        while flow.rest and not self.pipeline and self.begun == begun:
            piece, flow.rest = flow.rest[:PIECE], flow.rest[PIECE:]
            self._take(piece)
            if self.transport.is_closing():
                flow.rest = memoryview(b"")
                return
        if not flow.rest:
            cycle: Any = self.cycle
            if cycle is None or len(cycle.body) <= HIGH_WATER_LIMIT:
                flow.resume_reading()
            return
        flow.pause_reading()
        if not self.pipeline:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._go_on)
