"""The gateway's process: ``python -m fedrisk.cli.gateway FOLDER SUPERLINK_PORT``."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import uvicorn

#: Connections at one time, so that nobody takes all the memory; a site has one or two.
LARGEST_NUMBER = 1024
#: A connection that waits for a request, or for the rest of its headers, is closed after one to two
#: of these.
LOOK_SECONDS = 20.0


class ImpatientProtocol(H11Protocol):
    """Uvicorn's HTTP, which by itself waits for ever for a first request and for headers.

    h11 rather than httptools: it bounds the headers of a request.
    """

    look_seconds = LOOK_SECONDS
    _last: Any = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at the connection now and then."""
        super().connection_made(transport)
        self.loop.call_later(self.look_seconds, self._look)

    def _look(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self.cycle is self._last:
            self.transport.close()
            return
        self._last = self.cycle if waits else False
        self.loop.call_later(self.look_seconds, self._look)


def configure(app: Any, host: str, port: int, folder: Path) -> uvicorn.Config:
    """The server before an application, by the certificate ``server.crt`` of a folder."""
    import uvicorn

    return uvicorn.Config(
        app,
        host=host,
        port=port,
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


def main() -> None:
    """Serve a federation's sites until SIGTERM."""
    import uvicorn

    from fedrisk import __version__
    from fedrisk.federation.gateway import make_gateway
    from fedrisk.federation.pinning import own_pin
    from fedrisk.federation.provisioning.coordinator import Federation

    federation = Federation.open(Path(sys.argv[1]))
    about = {"fedrisk": __version__, "bundle": own_pin()}
    gateway = make_gateway(int(sys.argv[2]), federation.loopback / "ca.crt", about)
    settings = federation.settings
    server = uvicorn.Server(configure(gateway, settings.listen, settings.port, federation.folder))
    server.run()
    if not server.started:
        sys.exit(3)  # the port is taken, say: whoever started this tries again


if __name__ == "__main__":
    main()
