"""How long a caller may take, and how many may be connected: uvicorn bounds neither.

A look at all connections, about once a second, finds those that stay in one stage of a request for
too long. Nothing is done for it while a request is answered, so it costs a prediction nothing.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from uvicorn.protocols.http.flow_control import CLOSE_HEADER

from fedrisk.serving.prompt import Prompt, PromptConnection

#: Told in the scope of a request whose body takes too long; see `transport.read_body`.
LATE = "fedrisk.late"
#: A number in the scope that an endpoint raises with each part of a stream that it reads or sends:
#: limits are then those of a part, and not of the whole.
PROGRESS = "fedrisk.progress"
#: Seconds that an endpoint has to answer 408 itself before its connection is ended.
LATE_SECONDS = 2.0
#: Seconds for which a connection without a request goes on when the server ends: a request that is
#: on its way already is answered, and the caller told that it was the last.
LAST_SECONDS = 0.05
#: Files that a process needs beside its connections.
OTHER_FILES = 100

_CLOSE = b"connection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\n" + _CLOSE
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n" + _CLOSE


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """What is asked of callers; times in seconds.

    Attributes
    ----------
    head : float
        From a connection's or a request's first byte until the end of its head.
    body : float
        From the head until the end of the body.
    answer : float
        From the body until the caller has taken the whole answer.
    idle : float
        Between two requests of one connection.
    connections : int
        At the same time, in one process.
    """

    head: float = 10.0
    body: float = 30.0
    answer: float = 60.0
    idle: float = 30.0
    connections: int = 1000

    @property
    def look(self) -> float:
        """Seconds between two looks."""
        return min(1.0, self.head / 4, self.body / 4, self.answer / 4, self.idle / 4)


class Stage(Enum):
    """Where a connection's request is."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    LATE = "late"
    ANSWER = "answer"


class Connection(PromptConnection):
    """A connection, refused when there are too many, and answered when half closed.

    Parameters
    ----------
    most : int
        Connections at the same time.
    refused : callable
        Told of each that was one too many.
    prompt : Prompt
        What is answered without ASGI.
    options
        Of uvicorn.
    """

    def __init__(
        self, most: int, refused: Callable[[], None], prompt: Prompt, **options: Any
    ) -> None:
        super().__init__(prompt, **options)
        self._most = most
        self._refused = refused
        self._running: Any = None
        self._ending = False
        self.place: tuple[Any, ...] = ()
        self.since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or say that there is no room for it."""
        if len(self.connections) < self._most:
            super().connection_made(transport)
            return
        self.transport = transport
        self._refused()
        transport.write(_FULL)
        transport.close()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        if self._ending:
            cycle.scope["headers"].append(CLOSE_HEADER)  # uvicorn says it again, and does so
        super()._start_asgi_task(cycle, app)

    def shutdown(self) -> None:
        """End after the running request, or the one that is on its way."""
        self._ending = True
        self._prompt = {}
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            self.loop.call_later(LAST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the running request; uvicorn tells the latest, which may only wait behind it."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Go on with a whole request whose caller will send no more, and end after its answer."""
        cycle: Any = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete:
            return None
        cycle.keep_alive = False
        return True

    def stage(self) -> Stage:
        """Where the latest request is."""
        if self.scope is not None and self.scope is self.answered:
            return Stage.ANSWER if self.transport.get_write_buffer_size() else Stage.IDLE
        if self.pipeline:
            return Stage.ANSWER  # nothing more is read before it is there
        cycle: Any = self.cycle
        if cycle is None:
            return Stage.HEAD
        if not cycle.response_complete and cycle.more_body:
            return Stage.LATE if LATE in cycle.scope else Stage.BODY
        if not cycle.response_complete or self.transport.get_write_buffer_size():
            return Stage.ANSWER
        return Stage.IDLE if self.scope is cycle.scope else Stage.HEAD

    def look(self, now: float, limits: TimeLimits) -> Stage | None:
        """End what has taken too long; the stage that did."""
        stage = self.stage()
        cycle: Any = self._running if self.pipeline else self.cycle
        progress = None if cycle is None else cycle.scope.get(PROGRESS)
        place = (stage, self.begun, progress)
        if self.place != place:
            self.place, self.since = place, now
        most = LATE_SECONDS if stage is Stage.LATE else getattr(limits, stage.value)
        if now - self.since < most:
            return None
        self._end(stage)
        return stage

    def _end(self, stage: Stage) -> None:
        if stage is Stage.BODY:
            # The endpoint answers 408, as it does every other error; this wakes it.
            cycle: Any = self.cycle
            cycle.scope[LATE] = True
            cycle.message_event.set()
        elif stage is Stage.HEAD and self.scope is not None:
            self.transport.write(_TOO_LATE)
            self.transport.close()
        else:
            self.transport.abort()


async def watch(
    connections: Iterable[Any],
    limits: TimeLimits,
    now: Callable[[], float],
    ended: Callable[[str], None],
) -> None:
    """Look at all connections for ever.

    Parameters
    ----------
    connections : iterable
        uvicorn's, which change meanwhile.
    limits : TimeLimits
    now : callable
        Monotonic seconds.
    ended : callable
        Told the stage that took a caller too long.
    """
    while True:
        await asyncio.sleep(limits.look)
        for connection in list(connections):
            stage = connection.look(now(), limits)
            if stage not in (None, Stage.IDLE, Stage.LATE):
                ended(stage.value)


def room_for(connections: int) -> int:
    """As many connections as wanted, or as the system lets this process open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(1, min(connections, soft - OTHER_FILES))
