"""Cuts the bytes of a CSV file into records without looking into them, quotes respected.

A quotation mark opens a quoted value where a field begins and nowhere else: in ``1,6" x 4",2`` it
is a sign like others. The sites' reader, which is Arrow's, and Python's read it so too.

A block of records begins with the line end that closed the record before it, so what is written
after a record's own bytes stands before its line end, and everything else stays as it was: quotes,
encodings, blank lines, line ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import DataError

#: Bytes read at a time.
CHUNK = 4 << 20
#: A record longer than this is taken for a quote that is never closed.
LONGEST = 64 << 20
_NEWLINE, _RETURN, _QUOTE, _COMMA = 10, 13, 34, 44
#: Bytes behind which a field begins.
_BEFORE_FIELD = (_NEWLINE, _RETURN, _COMMA)
#: By byte: whether every second mark may stand behind it, opening a value or doubling a mark.
_BEFORE_OPENING = np.isin(np.arange(256), (*_BEFORE_FIELD, _QUOTE))
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SupportsRead(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes; none at the end."""
        ...


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


def line_ends(data: bytes, *, start: bool = True) -> NDArray[np.int64]:
    r"""Positions of the line feeds that end a record: those outside quotes.

    Parameters
    ----------
    data : bytes
        Begins where a record begins, or with the line end before it.
    start : bool
        Whether the file begins here, so that a byte order mark may.

    >>> line_ends(b'a,b\n"x\ny",2\n').tolist()
    [3, 11]
    >>> line_ends(b'a,6"\n1,2\n').tolist()
    [4, 8]
    """
    array = np.frombuffer(data, np.uint8)
    ends: NDArray[np.int64] = np.flatnonzero(array == _NEWLINE)
    if b'"' not in data:
        return ends
    quotes = quote_marks(data, start=start)
    outside = np.searchsorted(quotes, ends) % 2 == 0
    selected: NDArray[np.int64] = ends[outside]
    return selected


def quote_marks(data: bytes, *, start: bool = True) -> NDArray[np.int64]:
    r"""Positions of the quotation marks that open and close, in turn; a doubled one does both.

    >>> quote_marks(b'"a""b",6" x 4"\n').tolist()
    [0, 2, 3, 5]
    """
    array = np.frombuffer(data, np.uint8)
    first = _first_byte(data, start=start)
    marks: NDArray[np.int64] = np.flatnonzero(array == _QUOTE)
    opening = marks[::2]
    regular = _BEFORE_OPENING[array[opening - 1]] | (opening == first)
    # Where every second mark stands where one may open, all of them open and close in turn.
    return marks if regular.all() else _marks_one_by_one(data, marks, first)


def _first_byte(data: bytes, *, start: bool) -> int:
    """Where text begins: behind the file's own first line end here, and its byte order mark."""
    begin = 1 if data.startswith(b"\n") else 0
    marked = start and data.startswith(BYTE_ORDER_MARK, begin)
    return begin + len(BYTE_ORDER_MARK) * marked


def _marks_one_by_one(data: bytes, marks: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    kept: list[int] = []
    places = iter(marks.tolist())
    for place in places:
        if len(kept) % 2 == 0:
            if place == first or data[place - 1] in _BEFORE_FIELD:
                kept.append(place)
            continue
        kept.append(place)
        if data[place + 1 : place + 2] == b'"':  # doubled: the value goes on
            kept.append(next(places))
    return np.array(kept, np.int64)


def cut(data: bytes, *, start: bool, last: bool) -> RecordBlock:
    """Find the complete records; what follows them begins the next block.

    Parameters
    ----------
    data : bytes
        Begins with the line end of the record before.
    start : bool
        Whether the file begins here.
    last : bool
        Whether the file ends here, so that the last record needs no line end.
    """
    if not data:
        return RecordBlock(data, np.zeros(1, np.int32))
    ends = line_ends(data, start=start)
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
    longest : int
        Bytes of the longest record.

    Attributes
    ----------
    header : bytes
        First line that is not blank, with what stands before it, without its line end.
    rest : bytes
        What follows the last record, once all blocks were taken.
    """

    def __init__(
        self, stream: SupportsRead, name: str, chunk: int = CHUNK, longest: int = LONGEST
    ) -> None:
        self._stream = stream
        self._longest = longest
        self._name = name
        self._chunk = chunk
        self.rest = b"\n"
        self._ended = False
        self._begins = True
        block = self._take(0)
        if block is None:
            raise DataError(f"{name} is empty", hint="a header line with column names is needed")
        end = int(block.offsets[1])
        self.header = block.data[1:end]
        self.rest = block.data[end:]
        self._begins = False

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
            block = cut(self.rest, start=self._begins, last=self._ended)
            if len(block):
                return block
            if self._ended:
                return None
            if len(self.rest) > self._longest:
                raise DataError(
                    f"{self._name}, row {row}: the row does not end within {self._longest} bytes",
                    hint="look for a quotation mark that is never closed",
                )
            more = self._stream.read(self._chunk)
            self._ended = not more
            self.rest += more
