"""The gateway's process: ``python -m fedrisk.cli.gateway FOLDER SUPERLINK_PORT``."""

from __future__ import annotations

import asyncio
import resource
import ssl
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from fedrisk.federation.gateway import MEMBER

if TYPE_CHECKING:
    import uvicorn

#: Connections at one time, so that nobody takes all the memory; a site has one or two.
LARGEST_NUMBER = 1024
#: Of these, by callers that have not proven to be a site. One more ends the oldest of them.
LARGEST_STRANGERS = 256
#: Seconds for TLS to begin, and for a caller to prove that it is a site.
HANDSHAKE_SECONDS = 10.0
STRANGER_SECONDS = 10.0
#: A site's connection that waits for a request, or for the rest of its headers, is closed after one
#: to two of these.
LOOK_SECONDS = 20.0


class ImpatientProtocol(H11Protocol):
    """Uvicorn's HTTP, which by itself waits for ever for a first request and for headers.

    h11 rather than httptools: it bounds the headers of a request.
    """

    look_seconds = LOOK_SECONDS
    stranger_seconds = STRANGER_SECONDS
    largest_strangers = LARGEST_STRANGERS
    since = 0.0
    is_member = False
    _last: Any = False

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        self._served = self.app
        self.app = self._serve

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        scope[MEMBER] = self._prove
        await self._served(scope, receive, send)

    def _prove(self) -> None:
        self.is_member = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at the connection now and then."""
        super().connection_made(transport)
        self.since = self.loop.time()
        self.loop.call_later(self.look_seconds, self._look)
        self.loop.call_later(self.stranger_seconds, self.end_if_stranger)
        self._make_room()

    def _make_room(self) -> None:
        strangers = [one for one in self.connections if not getattr(one, "is_member", False)]
        if len(strangers) > self.largest_strangers:
            oldest = min(strangers, key=lambda one: getattr(one, "since", 0.0))
            if isinstance(oldest, ImpatientProtocol):
                oldest.end_if_stranger()

    def end_if_stranger(self) -> None:
        """Cut a connection whose owner is unknown still; it may not answer to a polite end."""
        if not self.is_member and self.transport is not None:
            self.transport.abort()
            self.connections.discard(self)

    def _look(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self.cycle is self._last:
            self.transport.close()
            return
        self._last = self.cycle if waits else False
        self.loop.call_later(self.look_seconds, self._look)


class _Loop(asyncio.SelectorEventLoop):
    """Gives TLS little time: a connection in its handshake is counted by nobody."""

    async def create_server(self, *words: Any, **named: Any) -> Any:
        """As asyncio's."""
        if named.get("ssl") is not None:
            named.setdefault("ssl_handshake_timeout", HANDSHAKE_SECONDS)
            named.setdefault("ssl_shutdown_timeout", HANDSHAKE_SECONDS)
        return await super().create_server(*words, **named)


def new_loop() -> asyncio.AbstractEventLoop:
    """The loop that the gateway runs in."""
    return _Loop()


def configure(app: Any, host: str, port: int, folder: Path) -> uvicorn.Config:
    """The server before an application, by the certificate ``server.crt`` of a folder."""
    import uvicorn

    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="fedrisk.cli.gateway:new_loop",
        http=ImpatientProtocol,
        ws="none",
        ssl_certfile=str(folder / "server.crt"),
        ssl_keyfile=str(folder / "server.key"),
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=LARGEST_NUMBER,
        timeout_graceful_shutdown=3,
    )


def _allow_many_connections() -> None:
    """Raise the number of open files: connections that have not begun TLS take some, too."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 16 * LARGEST_NUMBER if most == resource.RLIM_INFINITY else min(most, 65_536)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def main() -> None:
    """Serve a federation's sites until SIGTERM."""
    import uvicorn

    from fedrisk import __version__
    from fedrisk.federation.admission import Admission
    from fedrisk.federation.gateway import make_gateway
    from fedrisk.federation.pinning import own_pin
    from fedrisk.federation.provisioning.coordinator import Federation

    federation = Federation.open(Path(sys.argv[1]))
    about = {"fedrisk": __version__, "bundle": own_pin()}
    admission = Admission(federation.members, lambda: datetime.now(UTC))
    authority = federation.loopback / "ca.crt"
    port, folder = int(sys.argv[2]), federation.folder
    gateway = make_gateway(port, authority, about, admission.judge, folder)
    settings = federation.settings
    _allow_many_connections()
    server = uvicorn.Server(configure(gateway, settings.listen, settings.port, folder))
    server.run()
    if not server.started:
        sys.exit(3)  # the port is taken, say: whoever started this tries again


if __name__ == "__main__":
    main()
