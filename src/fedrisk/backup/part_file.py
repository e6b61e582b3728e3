"""The file of one part: hashed while it is written, and sealed where there is a recipient."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fedrisk.errors import HomeError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

#: Bytes that are sealed together.
BATCH = 4 << 20
SEALED = ".sealed"


class PartWriter(io.RawIOBase):
    """Takes a part's bytes in order.

    Parameters
    ----------
    stream : binary file
        Where they go.
    recipient : X25519PublicKey, optional
        Whom they are sealed for; as they are without.

    Attributes
    ----------
    bytes : int
        Written so far, as they are in the file.
    """

    def __init__(self, stream: IO[bytes], recipient: X25519PublicKey | None = None) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self.bytes = 0
        self._waiting = bytearray()
        self._sealer = None
        if recipient is not None:
            from fedrisk.sealing import Sealer

            self._sealer = Sealer(recipient)

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        piece = memoryview(content)  # type: ignore[arg-type]
        if self._sealer is None:
            self._put(piece)
            return piece.nbytes
        self._waiting += piece
        while len(self._waiting) >= BATCH:
            self._seal(bytes(self._waiting[:BATCH]))
            del self._waiting[:BATCH]
        return piece.nbytes

    def finish(self) -> str:
        """Write what waits, and the end; SHA-256 of the file."""
        if self._sealer is not None:
            if self._waiting:
                self._seal(bytes(self._waiting))
                self._waiting.clear()
            self._put(self._sealer.seal(b"", last=True))
        return self._sha256.hexdigest()

    def _seal(self, content: bytes) -> None:
        assert self._sealer is not None  # noqa: S101 for the type checker
        self._put(self._sealer.seal(content))
        self._sealer.sealed()

    def _put(self, content: bytes | memoryview) -> None:
        self._stream.write(content)
        self._sha256.update(content)
        self.bytes += len(content)


class _Opened(io.RawIOBase):
    """Reads the pieces of an iterator."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, place: object) -> int:
        target = memoryview(place)  # type: ignore[arg-type]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _whole(batches: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The batches of a part; the empty one at the end tells that nothing was cut off."""
    ended = False
    for content in batches:
        ended = not content
        yield content
    if not ended:
        raise HomeError(f"{name} has no end", hint="take an earlier backup")


@contextmanager
def writing(file: Path, recipient: X25519PublicKey | None) -> Iterator[PartWriter]:
    """Write a new file that only its owner can read; on the disk when the context ends."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        yield PartWriter(stream, recipient)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def reading(file: Path, key: X25519PrivateKey | None) -> Iterator[IO[bytes]]:
    """Read a part, opened by its recipient's key where it is sealed.

    Raises
    ------
    HomeError
        While reading, when a batch was changed or is sealed for another key.
    OSError
        When it cannot be read.
    """
    with file.open("rb") as stream:
        if key is None:
            yield stream
            return
        from fedrisk.sealing import open_batches

        pieces = _whole(open_batches(stream, file.name, key), file.name)
        with io.BufferedReader(_Opened(pieces), BATCH) as opened:
            yield opened
