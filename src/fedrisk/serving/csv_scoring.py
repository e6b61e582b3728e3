"""Scores a CSV file into a CSV file: every line as it was, with two more values at its end."""

from __future__ import annotations

import csv
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fedrisk.errors import DataError, Violation
from fedrisk.serving.columns import RECORDED, Block, BlockReader
from fedrisk.serving.records import RecordBlock, RecordStream
from fedrisk.serving.scoring import LEVELS, Scorer
from fedrisk.serving.tally import Tally
from fedrisk.study import NumberFeature
from fedrisk.study.records import FloatArray
from fedrisk.study.values import MISSING

if TYPE_CHECKING:
    import pyarrow as pa

APPENDED = b",risk_score,risk_level"
_RETURN_HINT = "look for a line that ends in a carriage return alone"


def header_names(header: bytes, file: str) -> list[str]:
    """Column names of a header line.

    Raises
    ------
    DataError
        When it is not UTF-8 text, or not one line of CSV.
    """
    try:
        return next(csv.reader([header.decode("utf-8-sig")]))
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: the header is not UTF-8 text: {error}") from None
    except csv.Error:
        raise DataError(f"{file}: the header is not CSV", hint=_RETURN_HINT) from None


def score_csv(scorer: Scorer, source: IO[bytes], target: IO[bytes], tally: Tally) -> None:
    """Score a stream of CSV.

    Parameters
    ----------
    scorer : Scorer
    source, target : binary file
    tally : Tally
        Counts rows, and decides about rows that break the study.

    Raises
    ------
    DataError
        When the columns do not fit, or a row breaks the study and the tally does not allow it.
    """
    stream = RecordStream(source, tally.file)
    names = header_names(stream.header, tally.file)
    reader = BlockReader(scorer.study, tally.file)
    reader.check_names(names)
    parser = CsvParser(scorer, names, tally.file)
    target.write(stream.header + APPENDED)
    while (records := stream.next(tally.rows + 1)) is not None:
        block = reader.read(parser.parse(records, tally.rows + 1), tally.rows + 1)
        risks, codes = score_block(scorer, block, tally)
        target.write(with_scores(records, risks, codes, block))
    target.write(stream.rest)


def score_block(scorer: Scorer, block: Block, tally: Tally) -> tuple[FloatArray, FloatArray]:
    """Risks and places of their levels, ``(rows,)`` each; rows that are wrong have any value."""
    risks = scorer.risks(block.columns)
    codes = scorer.level_codes(risks)
    tally.add(codes, block)
    return risks, codes


class CsvParser:
    """Reads the features out of blocks of records.

    Parameters
    ----------
    scorer : Scorer
    names : list of str
        The file's columns.
    file : str
        The file as the caller named it.
    """

    def __init__(self, scorer: Scorer, names: list[str], file: str) -> None:
        self._file = file
        self._study = scorer.study
        # Other columns may have equal names: places are unique.
        self._columns = [str(place) for place in range(len(names))]
        self._place = {f.name: str(names.index(f.name)) for f in self._study.features}

    def parse(self, records: RecordBlock, first_row: int) -> dict[str, pa.Array]:
        """Arrays by feature: numbers where all of them are finite, else text.

        Raises
        ------
        DataError
            When a row has another number of fields than the header, or is not CSV.
        """
        import pyarrow as pa

        try:
            table = self._read(records, typed=True)
            if table.num_rows == len(records) and self._all_finite(table):
                return self._arrays(table)
        except pa.ArrowInvalid:
            pass  # some value is no number: text tells which
        try:
            table = self._read(records, typed=False)
        except pa.ArrowInvalid as error:
            raise self._explained(records, first_row, error) from None
        if table.num_rows != len(records):
            raise DataError(
                f"{self._file}: rows {first_row} to {first_row + len(records) - 1} are not CSV",
                hint=_RETURN_HINT,
            )
        return self._arrays(table)

    def _arrays(self, table: pa.Table) -> dict[str, pa.Array]:
        # One block of bytes gives one chunk.
        return {name: table[place].combine_chunks() for name, place in self._place.items()}

    def _all_finite(self, table: pa.Table) -> bool:
        """Whether no text such as nan or inf was taken for a number."""
        for feature in self._study.numbers:
            column = table[self._place[feature.name]]
            values = column.to_numpy()
            if np.isnan(values).sum() != column.null_count or np.isinf(values).any():
                return False
        return True

    def _read(self, records: RecordBlock, *, typed: bool, **parsing: Any) -> pa.Table:
        import pyarrow as pa
        from pyarrow import csv as arrow

        types = {
            self._place[f.name]: pa.float64()
            if typed and isinstance(f, NumberFeature)
            else pa.dictionary(pa.int32(), pa.string())
            if not isinstance(f, NumberFeature)
            else pa.string()
            for f in self._study.features
        }
        return arrow.read_csv(
            pa.BufferReader(records.body),
            read_options=arrow.ReadOptions(
                column_names=self._columns, block_size=len(records.body) + 1, use_threads=False
            ),
            parse_options=arrow.ParseOptions(newlines_in_values=True, **parsing),
            convert_options=arrow.ConvertOptions(
                include_columns=list(self._place.values()),
                column_types=types,
                null_values=list(MISSING),
                strings_can_be_null=False,
            ),
        )

    def _explained(self, records: RecordBlock, first_row: int, error: Exception) -> DataError:
        """Name the rows that have too few or too many fields."""
        import pyarrow as pa

        found: list[Violation] = []

        def note(row: Any) -> str:
            at = first_row + row.number - 1
            rule = f"must have {row.expected_columns} fields, has {row.actual_columns}"
            found.append(Violation(self._file, at, "", row.text[:80], rule))
            return "skip"

        try:
            self._read(records, typed=False, invalid_row_handler=note)
        except pa.ArrowInvalid:
            found = []
        if found:
            return DataError(
                f"{self._file}: {len(found)} row(s) with another number of fields than the header",
                found[:RECORDED],
                len(found),
                hint="a value that contains a comma or a line break must stand in double quotes",
            )
        rows = f"rows {first_row} to {first_row + len(records) - 1}"
        return DataError(f"{self._file}, {rows}: cannot be read as CSV: {error}")


def with_scores(
    records: RecordBlock, risks: FloatArray, codes: FloatArray, block: Block
) -> memoryview:
    """The records' bytes, each with score and level after it; where the row is wrong, with none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wrong = block.wrong if block.wrong.any() else None
    binary = pa.large_binary()
    offsets = records.offsets.astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(records.data)]
    lines = pa.Array.from_buffers(binary, len(records), buffers)
    scores = pc.cast(pc.cast(pa.array(risks, mask=wrong), pa.large_string()), binary)
    levels = pa.array([level.encode() for level in LEVELS], binary).take(
        pa.array(codes, mask=wrong)
    )
    separator = pa.scalar(b",", binary)
    joined = pc.binary_join_element_wise(
        lines, scores, levels, separator, null_handling="replace", null_replacement=""
    )
    begin, end = np.frombuffer(joined.buffers()[1], np.int64)[[0, len(records)]]
    return memoryview(joined.buffers()[2])[int(begin) : int(end)]
