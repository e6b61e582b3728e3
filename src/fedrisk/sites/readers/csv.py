"""CSV files: a header line, comma-separated, UTF-8, quotes as in RFC 4180; gzip by suffix."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from fedrisk.errors import DataError, Violation

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows with too few or too many fields that are named one by one.
NAMED_ROWS = 1000
#: Signs that take the place of the comma in other dialects.
OTHER_SEPARATORS = (";", "\t", "|")


def _gzipped(path: Path) -> bool:
    """By the suffix in any case; Arrow, left to itself, knows it in lower case alone."""
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> TextIO:
    if _gzipped(path):
        return cast("TextIO", gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def column_names(path: Path) -> list[str]:
    """Read the header line."""
    try:
        with _open(path) as text:
            header = next((row for row in csv.reader(text) if row), None)
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from None
    if header is None:
        raise DataError(f"{path}: is empty; a header line with column names was expected")
    _refuse_other_separators(path, header)
    return header


def _refuse_other_separators(path: Path, header: list[str]) -> None:
    for sign in OTHER_SEPARATORS:
        if len(header) == 1 and sign in header[0]:
            raise DataError(
                f"{path}: the header has no comma, but {sign!r} {header[0].count(sign)} times",
                hint="save it with commas between the fields (and a decimal point)",
            )


def _not_utf8(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: is not UTF-8 text: {error}", hint="save it again as UTF-8")


def read_columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Read columns as text; every value is as it stands in the file."""
    import pyarrow as pa

    try:
        return _read(path, names, use_threads=True)
    except (pa.ArrowException, OSError) as error:
        raise _explained(path, names, error) from None


def _read(path: Path, names: Sequence[str], *, use_threads: bool, **parsing: Any) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as arrow

    with pa.input_stream(path, compression="gzip" if _gzipped(path) else None) as stream:
        return arrow.read_csv(
            stream,
            read_options=arrow.ReadOptions(use_threads=use_threads),
            parse_options=arrow.ParseOptions(newlines_in_values=True, **parsing),
            convert_options=arrow.ConvertOptions(
                include_columns=list(names),
                column_types=dict.fromkeys(names, pa.large_string()),
                strings_can_be_null=False,
            ),
        )


def _explained(path: Path, names: Sequence[str], error: Exception) -> DataError:
    text = str(error)
    if "Empty CSV" in text:
        return DataError(f"{path}: has a header and no rows")
    if "UTF8" in text:
        return _not_utf8(path, error)
    if "Expected" in text:
        return _ragged(path, names)
    if "straddling" in text:
        return DataError(
            f"{path}: one row is longer than a megabyte",
            hint="a double quote that opens a value is probably never closed",
        )
    return DataError(f"{path}: cannot be read as CSV: {text}")


def _ragged(path: Path, names: Sequence[str]) -> DataError:
    """Read once more, without threads, to learn which rows have too few or too many fields."""
    found: list[Violation] = []
    total = 0

    def note(row: Any) -> str:
        nonlocal total
        total += 1
        if total <= NAMED_ROWS:
            rule = f"must have {row.expected_columns} fields, has {row.actual_columns}"
            found.append(Violation(str(path), row.number - 1, "", row.text[:80], rule))
        return "skip"

    _read(path, names, use_threads=False, invalid_row_handler=note)
    return DataError(
        f"{path}: {total} row(s) with another number of fields than the header",
        found,
        total,
        hint="a value that contains a comma or a line break must stand in double quotes",
    )
