"""The process that serves: one event loop, ended politely by a signal or by its parent's end."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

#: Seconds that running requests have when the server is told to end.
GRACE = 5


def run_server(
    app: ASGIApp,
    opened: socket.socket,
    log_level: str,
    announce: Callable[[], None],
    *,
    until_input_closes: bool = False,
) -> None:
    """Serve until told to end.

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
    """
    config = uvicorn.Config(
        app,
        log_level=log_level,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        # The reverse of trust: what a client says about its address is not used.
        proxy_headers=False,
    )
    server = _AnnouncingServer(config, announce, until_input_closes=until_input_closes)
    server.run(sockets=[opened])


class _AnnouncingServer(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, announce: Callable[[], None], *, until_input_closes: bool
    ) -> None:
        super().__init__(config)
        self._announce = announce
        self._until_input_closes = until_input_closes

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._until_input_closes:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._input)
        if self.started:
            self._announce()

    def _input(self) -> None:
        """Read what comes; nothing means that the other end is closed."""
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.should_exit = True
