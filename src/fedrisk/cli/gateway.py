"""The gateway's process: ``python -m fedrisk.cli.gateway FOLDER SUPERLINK_PORT``."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path


def main() -> None:
    """Serve a federation's sites until SIGTERM."""
    import uvicorn

    from fedrisk import __version__
    from fedrisk.federation.gateway import make_gateway
    from fedrisk.federation.pinning import own_pin
    from fedrisk.federation.provisioning.coordinator import Federation

    federation = Federation.open(Path(sys.argv[1]))
    about = {"fedrisk": __version__, "bundle": own_pin()}
    uvicorn.run(
        make_gateway(int(sys.argv[2]), federation.loopback / "ca.crt", about),
        host=federation.settings.listen,
        port=federation.settings.port,
        ssl_certfile=str(federation.folder / "server.crt"),
        ssl_keyfile=str(federation.folder / "server.key"),
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
