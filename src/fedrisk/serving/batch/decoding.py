"""The bytes of a body as they come: limited in size, and unpacked where they are gzipped.

A few kilobytes of gzip can unpack to gigabytes. What counts against the limit is therefore what
comes out, it comes out piece by piece, and once much has come out, a body that grew as no rows of
people do is refused: theirs shrink to a fifth, the same row over and over to a thousandth.
"""

from __future__ import annotations

import zlib

from starlette.exceptions import HTTPException

from fedrisk.errors import UsageError
from fedrisk.serving.records import SupportsRead

#: Bytes taken at a time.
PIECE = 64 << 10
#: Most that gzip may make of a byte, once so many bytes have come out.
RATIO, UNSUSPICIOUS = 200, 256 << 20
_GZIP = 16 + zlib.MAX_WBITS


class Limited:
    """A stream that may bring so many bytes.

    Parameters
    ----------
    stream : binary file
        Unbuffered or buffered.
    most : int
    prompt : bool
        Hand on what there is, rather than wait for as much as was asked for.
    """

    def __init__(self, stream: SupportsRead, most: int, *, prompt: bool = False) -> None:
        self._read = getattr(stream, "read1", stream.read) if prompt else stream.read
        self._most = most
        self.taken = 0

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end.

        Raises
        ------
        HTTPException
            413 when the body is longer than it may be.
        """
        data = self._read(size)
        self.taken += len(data)
        if self.taken > self._most:
            raise HTTPException(413, f"the body is too large: at most {self._most} bytes are taken")
        return data


class Unzipped:
    """A gzipped stream's content, of one member or several.

    Parameters
    ----------
    stream : readable
    """

    def __init__(self, stream: SupportsRead) -> None:
        self._stream = stream
        self._unpack = zlib.decompressobj(_GZIP)
        self._waiting = b""
        self._in = self._out = 0

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end.

        Raises
        ------
        UsageError
            When this is no gzip, ends too early, or unpacks to suspiciously much.
        """
        parts: list[bytes] = []
        missing = size
        while missing and (part := self._piece(missing)):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _piece(self, size: int) -> bytes:
        while True:
            if not self._waiting:
                self._waiting = self._stream.read(PIECE)
                self._in += len(self._waiting)
                if not self._waiting:
                    return self._end()
            try:
                if self._unpack.eof:
                    self._unpack = zlib.decompressobj(_GZIP)
                part = self._unpack.decompress(self._waiting, size)
            except zlib.error:
                raise UsageError("the body is not gzip, though Content-Encoding says so") from None
            self._waiting = self._unpack.unused_data or self._unpack.unconsumed_tail
            if part:
                self._out += len(part)
                self._check_ratio()
                return part

    def _end(self) -> bytes:
        if not self._unpack.eof:
            raise UsageError("the gzipped body ends too early")
        return b""

    def _check_ratio(self) -> None:
        if self._out > UNSUSPICIOUS and self._out > RATIO * self._in:
            raise UsageError(f"the body unpacks to more than {RATIO} times its size")
