"""The process that serves: one event loop, ended politely by a signal or by its parent's end."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp

from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.prompt import Prompt
from fedrisk.serving.time_limits import Connection, TimeLimits, room_for, watch

#: Seconds that running requests have when the server is told to end.
GRACE = 5
#: Of callers, where nobody says otherwise.
DEFAULT_LIMITS = TimeLimits()


class Beside(Protocol):
    """Another server in the same event loop."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


def run_server(
    app: ASGIApp,
    opened: socket.socket,
    log_level: str,
    announce: Callable[[], None],
    *,
    until_input_closes: bool = False,
    lifecycle: Lifecycle | None = None,
    drain_seconds: float = 0.0,
    time_limits: TimeLimits = DEFAULT_LIMITS,
    beside: Beside | None = None,
    prompt: Prompt | None = None,
) -> None:
    """Serve until told to end.

    Told by a signal, the process first says on ``/ready`` that no more requests should come, goes
    on answering for ``drain_seconds`` so that whoever sends them notices, and then ends once what
    is running is answered. A second signal ends the waiting.

    Parameters
    ----------
    app : ASGI application
    opened : socket.socket
        Listening already.
    log_level : str
    announce : callable
        Called once the application has started.
    until_input_closes : bool
        End when standard input does: when the parent is gone.
    lifecycle : Lifecycle, optional
        The application's, which learns here that the process is to end.
    drain_seconds : float
    time_limits : TimeLimits
        What callers must keep to.
    beside : Beside, optional
        Started with the application; told to end, it ends before the application does.
    prompt : Prompt, optional
        The application's answers that need no ASGI.
    """
    lifecycle = lifecycle or Lifecycle()
    most = room_for(time_limits.connections)
    refused = partial(lifecycle.connection_ended, "full")
    protocol: Any = partial(Connection, most, refused, prompt or {})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        log_config=None,  # whoever starts the process has configured the logs
        timeout_keep_alive=math.ceil(time_limits.idle),
        log_level=log_level,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        # The reverse of trust: what a client says about its address is not used.
        proxy_headers=False,
    )
    server = _AnnouncingServer(config, announce, until_input_closes=until_input_closes)
    server.beside = beside
    server.lifecycle, server.drain_seconds = lifecycle, drain_seconds
    server.time_limits = time_limits
    server.run(sockets=[opened])


class _AnnouncingServer(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, announce: Callable[[], None], *, until_input_closes: bool
    ) -> None:
        super().__init__(config)
        self._announce = announce
        self._until_input_closes = until_input_closes

    lifecycle: Lifecycle
    drain_seconds: float
    time_limits: TimeLimits
    beside: Beside | None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain on the first signal, end on the second."""
        if self.lifecycle.draining or not self.drain_seconds or not self.started:
            self.lifecycle.draining = True
            super().handle_exit(sig, frame)
            return
        self.lifecycle.draining = True
        loop = asyncio.get_running_loop()
        loop.call_later(self.drain_seconds, super().handle_exit, sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._until_input_closes:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._input)
        if self.started:
            connections, ended = self.server_state.connections, self.lifecycle.connection_ended
            self._watch = asyncio.create_task(
                watch(connections, self.time_limits, monotonic, ended)
            )
            if self.beside is not None:
                await self.beside.start()
            # What is there now stays: the collector need not walk through it again and again.
            gc.collect()
            gc.freeze()
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.beside is not None:
            await self.beside.stop()
        await super().shutdown(sockets)

    def _input(self) -> None:
        """Read what comes; nothing means that the other end is closed."""
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.should_exit = True
