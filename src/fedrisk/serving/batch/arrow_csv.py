"""The fast way through a slice of CSV, taken where every value is in order.

It reads by Arrow and gives the very bytes that `fedrisk.serving.formats` gives. Whatever it meets
that is out of the ordinary, it leaves to that: a wrong value, another column, a stray quote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fedrisk.errors import DataError
from fedrisk.serving.batch.slices import SliceScorer, implausible
from fedrisk.serving.columns import BlockReader
from fedrisk.serving.csv_scoring import CsvParser, header_names
from fedrisk.serving.records import BYTE_ORDER_MARK, RecordBlock
from fedrisk.serving.scoring import LEVELS
from fedrisk.study.records import FloatArray

if TYPE_CHECKING:
    import pyarrow as pa

HEADER = b"risk_score,risk_level,warnings\n"
#: Risks that Arrow writes otherwise than Python: below the first, from the second.
_WRITTEN_ALIKE = (1e-4, 1.0)
_QUOTE = ord('"')
_AROUND = np.isin(np.arange(256), [ord(","), ord("\n"), ord("\r"), _QUOTE])


class ArrowCsv:
    """Reads and answers slices of one body.

    Parameters
    ----------
    scorer : SliceScorer
    header : bytes
        The body's header line.
    """

    def __init__(self, scorer: SliceScorer, header: bytes) -> None:
        self._scorer = scorer
        self._reader = BlockReader(scorer.served.scorer.study, "the body")
        self._parser = None if scorer.explain else self._parser_of(header)

    def _parser_of(self, header: bytes) -> CsvParser | None:
        """None where the header is not simply the features, each once."""
        try:
            names = header_names(header, "the body")
        except DataError:
            return None
        wanted = self._scorer.served.scorer.study.feature_names
        marked = header.removeprefix(BYTE_ORDER_MARK)
        plain = not {10, 13} & set(header) and quoted_by_the_book(memoryview(marked))
        if not plain or sorted(names) != sorted(wanted):
            return None
        return CsvParser(self._scorer.served.scorer, names, "the body")

    def answer(self, block: RecordBlock, *, header: bool) -> bytes | None:
        """The answer to a slice, counted; None where it must be read with more care."""
        if self._parser is None or not quoted_by_the_book(block.body):
            return None
        try:
            arrays = self._parser.parse(block, 1)
            rows = self._reader.read(arrays, 1)
        except DataError:
            return None
        if rows.total or len(rows.wrong) != len(block):
            return None
        scorer = self._scorer.served.scorer
        risks = scorer.risks(rows.columns)
        codes = scorer.level_codes(risks)
        self._scorer.saw(len(block))
        self._scorer.count(rows.columns, risks, codes)
        told = self._told(rows.columns, len(block))
        return (HEADER if header else b"") + _lines(risks, codes, told)

    def _told(self, columns: Any, rows: int) -> pa.Array | None:
        """Names of each row's implausible features, a space between them; None where none are."""
        import pyarrow as pa

        found = implausible(self._scorer.served, columns)
        if not found:
            return None
        texts = np.full(rows, "", object)
        for name, strange in found.items():
            texts[strange] = [f"{text} {name}".lstrip() for text in texts[strange]]
        return pa.array([csv_field(text) for text in texts.tolist()], pa.large_string())


def csv_field(text: str) -> str:
    """A text as `csv.writer` writes it.

    >>> csv_field("pm2.5 age"), csv_field("a,b")
    ('pm2.5 age', '"a,b"')
    """
    special = any(sign in text for sign in ',"\r\n')
    return '"' + text.replace('"', '""') + '"' if special else text


def quoted_by_the_book(data: memoryview) -> bool:
    r"""Whether quotes enclose whole fields and nothing else, as strict readers demand.

    >>> [quoted_by_the_book(memoryview(d)) for d in (b'1,"a"\n', b'6" x,1', b'"a"b,1')]
    [True, False, False]
    """
    array = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero(array == _QUOTE)
    if not len(marks):
        return True
    if len(marks) % 2:
        return False
    opening, closing = marks[::2], marks[1::2]
    before = _AROUND[array[opening - 1]] | (opening == 0)
    after = _AROUND[array[np.minimum(closing + 1, len(array) - 1)]]
    return bool(before.all() and after.all())


def _lines(risks: FloatArray, codes: Any, told: pa.Array | None) -> bytes:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.large_string()
    scores = pc.cast(pa.array(risks), text)
    low, high = _WRITTEN_ALIKE
    otherwise = (risks < low) | (risks >= high)
    if otherwise.any():
        ours = pa.array([repr(risk) for risk in risks[otherwise].tolist()], text)
        scores = pc.replace_with_mask(scores, pa.array(otherwise), ours)
    levels = pa.array(LEVELS, text).take(pa.array(codes))
    warnings = pa.scalar("", text) if told is None else told
    rows = pc.binary_join_element_wise(scores, levels, warnings, pa.scalar(",", text))
    ended = pc.binary_join_element_wise(rows, pa.scalar("\n", text), pa.scalar("", text))
    begin, end = np.frombuffer(ended.buffers()[1], np.int64)[[0, len(risks)]]
    return bytes(memoryview(ended.buffers()[2])[int(begin) : int(end)])
