"""Note what a process sends, before encryption; Python imports this at its start from PYTHONPATH.

Every send on a TCP connection is appended to a file of the process, one JSON line: who sends (the
command line), from and to which address, the plain bytes in base64. Forked processes go on in files
of their own.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Where the notes go; without it nothing is noted.
FOLDER = "EGRESS_CAPTURE"
INTERNET = (socket.AF_INET, socket.AF_INET6)


def _address(name: Callable[[], Any]) -> str:
    try:
        return "{}:{}".format(*name()[:2])
    except OSError:
        return ""


def _note(folder: Path, own: Any, data: bytes, rest: tuple[Any, ...]) -> None:
    named = isinstance(own, socket.socket)  # an SSLObject writes to memory and knows no address
    to = "{}:{}".format(*rest[-1][:2]) if rest and isinstance(rest[-1], tuple) else ""
    line = {
        "argv": sys.argv,
        "from": _address(own.getsockname) if named else "",
        "to": to or (_address(own.getpeername) if named else ""),
        "data": base64.b64encode(data).decode(),
    }
    place = folder / f"{os.getpid()}.jsonl"
    file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


def _watch(kind: type, name: str, concerns: Callable[[Any], bool], folder: Path) -> None:
    """Put in the place of a method that sends one that also notes what was sent."""
    original = getattr(kind, name)

    def send(own: Any, data: Any, *rest: Any) -> Any:
        content = b"".join(map(bytes, data)) if name == "sendmsg" else bytes(data)
        sent = original(own, data, *rest)
        if concerns(own):
            _note(folder, own, content[:sent], rest)  # all of it where nothing is returned
        return sent

    setattr(kind, name, send)


def install(folder: Path) -> None:
    """Note everything that this process and its forks send from now on."""

    def plain(own: Any) -> bool:
        return own.family in INTERNET and not isinstance(own, ssl.SSLSocket)

    for name in ("send", "sendall", "sendto", "sendmsg"):
        _watch(socket.socket, name, plain, folder)
    # `sendall` of an encrypted socket calls `send`; and nobody calls its `write`.
    _watch(ssl.SSLSocket, "send", lambda _own: True, folder)
    _watch(ssl.SSLObject, "write", lambda _own: True, folder)


if os.environ.get(FOLDER):
    install(Path(os.environ[FOLDER]))
