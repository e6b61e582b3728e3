"""Cuts the bytes of a CSV file into records without looking into them, quotes respected.

A block of records begins with the line end that closed the record before it, so what is written
after a record's own bytes stands before its line end, and everything else stays as it was: quotes,
encodings, blank lines, line ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import DataError

#: Bytes read at a time.
CHUNK = 4 << 20
#: A record longer than this is taken for a quote that is never closed.
LONGEST = 64 << 20
_NEWLINE, _RETURN, _QUOTE = 10, 13, 34


@dataclass(frozen=True, slots=True)
class RecordBlock:
    """Records in the bytes they have in the file.

    Attributes
    ----------
    data : bytes
    offsets : (records + 1,) array of int32
        Record ``i`` is ``data[offsets[i]:offsets[i + 1]]``, with the line end before it, and
        blank lines if there are some.
    """

    data: bytes
    offsets: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def body(self) -> memoryview:
        """The records as CSV without a header."""
        return memoryview(self.data)[: int(self.offsets[-1])]


def line_ends(data: bytes) -> NDArray[np.int64]:
    r"""Positions of the line feeds that end a record: those outside quotes.

    >>> line_ends(b'a,b\n"x\ny",2\n').tolist()
    [3, 11]
    """
    array = np.frombuffer(data, np.uint8)
    ends: NDArray[np.int64] = np.flatnonzero(array == _NEWLINE)
    if b'"' not in data:
        return ends
    quotes = np.flatnonzero(array == _QUOTE)
    outside = np.searchsorted(quotes, ends) % 2 == 0
    selected: NDArray[np.int64] = ends[outside]
    return selected


def cut(data: bytes, *, last: bool) -> RecordBlock:
    """Find the complete records; what follows them begins the next block.

    Parameters
    ----------
    data : bytes
        Begins with the line end of the record before.
    last : bool
        Whether the file ends here, so that the last record needs no line end.
    """
    if not data:
        return RecordBlock(data, np.zeros(1, np.int32))
    ends = line_ends(data)
    if last and (not len(ends) or ends[-1] < len(data) - 1):
        ends = np.append(ends, len(data))
    array = np.frombuffer(data, np.uint8)
    returned = array[np.maximum(ends - 1, 0)] == _RETURN
    closed = ends - (returned & (ends > 0))
    filled = np.flatnonzero(closed[1:] > ends[:-1] + 1)
    offsets = np.concatenate([[0], closed[filled + 1]]).astype(np.int32)
    return RecordBlock(data, offsets)


class RecordStream:
    """Header and blocks of a CSV file.

    Parameters
    ----------
    stream : binary file
        At its beginning.
    name : str
        The file as the caller named it.
    chunk : int
        Bytes to read at a time.

    Attributes
    ----------
    header : bytes
        First line that is not blank, with what stands before it, without its line end.
    rest : bytes
        What follows the last record, once all blocks were taken.
    """

    def __init__(self, stream: IO[bytes], name: str, chunk: int = CHUNK) -> None:
        self._stream = stream
        self._name = name
        self._chunk = chunk
        self.rest = b"\n"
        self._ended = False
        block = self._take(0)
        if block is None:
            raise DataError(f"{name} is empty", hint="a header line with column names is needed")
        end = int(block.offsets[1])
        self.header = block.data[1:end]
        self.rest = block.data[end:]

    def next(self, row: int) -> RecordBlock | None:
        """The next records, or None at the end.

        Parameters
        ----------
        row : int
            Data row of the next record, for an error.

        Raises
        ------
        DataError
            When a quote is never closed.
        """
        block = self._take(row)
        if block is not None:
            self.rest = block.data[int(block.offsets[-1]) :]
        return block

    def _take(self, row: int) -> RecordBlock | None:
        while True:
            block = cut(self.rest, last=self._ended)
            if len(block):
                return block
            if self._ended:
                return None
            if len(self.rest) > LONGEST:
                raise DataError(
                    f"{self._name}, row {row}: the row does not end within {LONGEST} bytes",
                    hint="look for a quotation mark that is never closed",
                )
            more = self._stream.read(self._chunk)
            self._ended = not more
            self.rest += more
