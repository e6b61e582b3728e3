"""Ports that several processes listen on together, held by the one that started them.

gRPC opens its sockets itself and takes none that is handed over. So the first process binds the
port, with SO_REUSEPORT and without listening, and each serving process listens on it: the kernel
deals connections out among them, and none to the holder.
"""

from __future__ import annotations

import socket

from fedrisk.errors import UsageError
from fedrisk.serving.listening import listen


def hold(host: str, port: int, *, keys: bool = False) -> socket.socket:
    """Bind a port for this process and those it starts; port 0 takes a free one.

    Raises
    ------
    UsageError
        When the address is not loopback and callers need no key, or is none of this machine.
    PortInUseError
        When somebody else has the port.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise UsageError("gRPC is not offered on this system: it has no SO_REUSEPORT")
    # Alone first: with SO_REUSEPORT a port that another server of this user listens on is free.
    with listen(host, port, keys=keys) as alone:
        family, place = alone.family, alone.getsockname()
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(place)
    return held
