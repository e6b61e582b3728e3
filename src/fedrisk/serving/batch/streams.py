"""Scores a body of any length in each format, slice by slice; memory does not grow with it.

What a slice means is decided by the same readers as for a small batch (`fedrisk.serving.formats`).
Faster ones go first where there are any, and give up as soon as something is out of the ordinary.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import orjson
from pydantic_core import ValidationError
from starlette.exceptions import HTTPException

from fedrisk.errors import DataError, FedriskError, UsageError
from fedrisk.serving.batch.arrow_csv import ArrowCsv
from fedrisk.serving.batch.slices import Outcome, SliceScorer
from fedrisk.serving.formats import CsvFormat, Format, JsonFormat, NdjsonFormat
from fedrisk.serving.records import RecordBlock, RecordStream, SupportsRead
from fedrisk.serving.request import RequestValidator, Row

#: Bytes that are read and scored at a time, and the longest single row.
SLICE = 1 << 20
LONGEST_ROW = 1 << 20
#: JSON is one document, which is read as a whole.
JSON_BYTES, JSON_ROWS = 16 << 20, 10_000


def score_body(
    form: Format, source: SupportsRead, scorer: SliceScorer, write: Callable[[bytes], object]
) -> Outcome:
    """Score a whole body.

    Parameters
    ----------
    form : Format
    source : readable
    scorer : SliceScorer
    write : callable
        Told the answer, piece by piece; pieces before an error are part of no answer.

    Raises
    ------
    DataError
        With the rows that break the study.
    UsageError, HTTPException
        When the body is not in the format, empty or too large.
    """
    pieces = {JsonFormat: json_answers, NdjsonFormat: ndjson_answers, CsvFormat: csv_answers}
    for piece in pieces[type(form)](source, scorer):
        write(piece)
    return scorer.finish()


def json_answers(source: SupportsRead, scorer: SliceScorer) -> Iterator[bytes]:
    """The answer to a JSON document, as one."""
    parts, size = [], 0
    while part := source.read(SLICE):
        parts.append(part)
        size += len(part)
        if size > JSON_BYTES:
            raise HTTPException(413, f"the body is too large: at most {JSON_BYTES} bytes are taken")
    form = JsonFormat()
    # The scorer's own takes any number of rows, which is right for slices alone.
    validator = RequestValidator(scorer.served.scorer.study, JSON_ROWS)
    try:
        rows = form.read(b"".join(parts), validator)
    except DataError as error:
        scorer.note(error)
        return
    scorer.saw(len(rows))
    yield form.write(scorer.score(rows))


def ndjson_answers(source: SupportsRead, scorer: SliceScorer) -> Iterator[bytes]:
    """Answers to JSON lines."""
    form = NdjsonFormat()
    for lines in json_lines(source):
        try:
            rows = _objects(lines, scorer) or scorer.served.validator.lines(lines, scorer.seen + 1)
        except DataError as error:
            scorer.note(error)
            scorer.saw(len(lines))
            continue
        scorer.saw(len(lines))
        if not scorer.refused:
            yield form.write(scorer.score(rows))


def json_lines(source: SupportsRead) -> Iterator[list[bytes]]:
    """Lines of a body, some thousand at a time; empty ones at its end are none.

    Raises
    ------
    UsageError
        When a line is too long.
    """
    rest, held = b"", 0
    while part := source.read(SLICE):
        body, found, tail = (rest + part).rpartition(b"\n")
        rest = tail
        if len(rest) > LONGEST_ROW:
            raise UsageError(f"a line is longer than {LONGEST_ROW} bytes")
        if found:
            kept = body.rstrip(b"\r\n")
            # Empty lines count only once something stands behind them.
            if kept:
                yield [b""] * held + kept.split(b"\n")
                held = 0
            held += len(body.split(b"\n")) - (len(kept.split(b"\n")) if kept else 0)
    if rest.strip():
        yield [b""] * held + rest.rstrip(b"\r\n").split(b"\n")


def _objects(lines: list[bytes], scorer: SliceScorer) -> Sequence[Row] | None:
    """Rows of lines that are plain objects, read as one list; None where it is not that simple.

    A line with a brace at either end and none between them cannot hold two objects, so as many
    objects as lines are one a line.
    """
    body = b",".join(lines)
    count = len(lines)
    if body.count(b"{") != count or body.count(b"}") != count:
        return None
    if not all(line[:1] == b"{" and line.rstrip(b"\r")[-1:] == b"}" for line in lines):
        return None
    try:
        rows = scorer.served.validator.rows(b"[" + body + b"]")
    except (FedriskError, ValidationError):
        return None
    return rows if len(rows) == count else None


def csv_answers(source: SupportsRead, scorer: SliceScorer) -> Iterator[bytes]:
    """Answers to CSV, with a header."""
    try:
        records = RecordStream(source, "the body", SLICE, LONGEST_ROW)
    except DataError as error:
        raise UsageError("the body has no header") from error
    if b"\r" in records.header:
        raise UsageError("a line of the body ends in a carriage return alone")
    quick = ArrowCsv(scorer, records.header)
    for first in itertools.count():
        try:
            block = records.next(scorer.seen + 1)
        except DataError as error:  # about the text, not about the study
            raise UsageError(error.message, error.hint) from None
        if block is None:
            return
        answer = _csv_slice(records.header, block, scorer, quick, header=not first)
        if answer is not None:
            yield answer


def _csv_slice(
    head: bytes, block: RecordBlock, scorer: SliceScorer, quick: ArrowCsv, *, header: bool
) -> bytes | None:
    if not scorer.refused and (answer := quick.answer(block, header=header)) is not None:
        return answer
    form = CsvFormat()
    try:
        rows = form.read(head + bytes(block.body), scorer.served.validator, scorer.seen + 1)
    except DataError as error:
        scorer.note(error)
        scorer.saw(len(block))
        return None
    scorer.saw(len(rows))
    return None if scorer.refused else form.text(scorer.score(rows), header=header)


def error_line(document: dict[str, object]) -> bytes:
    """What ends a stream of JSON lines that cannot go on."""
    return orjson.dumps(document) + b"\n"
