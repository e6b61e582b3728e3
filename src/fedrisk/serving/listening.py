"""Sockets to serve on: loopback alone unless callers need keys, and never a taken port."""

from __future__ import annotations

import errno
import ipaddress
import socket

from fedrisk.errors import PortInUseError, UsageError

BACKLOG = 2048


def check_loopback(host: str) -> None:
    """Refuse an address that other machines can reach.

    Raises
    ------
    UsageError

    >>> check_loopback("127.0.0.1")
    """
    if not is_loopback(host):
        raise UsageError(
            f"{host} is not a loopback address, and nobody needs a key here",
            hint="make a key (`fedrisk keys add NAME --scope predict`), name an issuer of tokens"
            " (FEDRISK_OIDC_ISSUER), or serve on 127.0.0.1",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> [is_loopback(h) for h in ("localhost", "127.8.8.8", "::1", "0.0.0.0", "example.org", "")]
    [True, True, True, False, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int, *, keys: bool = False) -> socket.socket:
    """Open a listening socket; port 0 takes a free one.

    Parameters
    ----------
    host : str
    port : int
    keys : bool
        Whether callers need keys or tokens; without, other machines must not reach the address.

    Raises
    ------
    UsageError
        When the address is not loopback, or is none of this machine.
    PortInUseError
        When the port is taken, or not open to this user.
    """
    if not keys:
        check_loopback(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(
                f"port {port} on {host} is in use",
                hint="choose another with --port; 0 takes a free one",
            ) from None
        if error.errno == errno.EACCES:
            raise PortInUseError(
                f"port {port} may not be used", hint="take one above 1023"
            ) from None
        raise UsageError(f"cannot listen on {host}: {error.strerror}") from None
    return opened


def url_of(opened: socket.socket) -> str:
    """Address of a listening socket, for people and clients."""
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
