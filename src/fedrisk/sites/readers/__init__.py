"""Readers of a site's files: one module a format, chosen by the file's suffix.

A new format is one module with `column_names` and `read_columns`, and one line in `READERS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fedrisk.errors import DataError
from fedrisk.sites.readers import csv, parquet

if TYPE_CHECKING:
    import pyarrow as pa


class Reader(Protocol):
    """What a format's module offers. Both raise DataError on a file that is not of the format."""

    def column_names(self, path: Path) -> list[str]:
        """Names of the file's columns, in order, as they stand in it."""
        ...

    def read_columns(self, path: Path, names: Sequence[str]) -> pa.Table:
        """The named columns, all of which are in the file, with the rows in file order."""
        ...


READERS: dict[str, Reader] = {
    ".csv": csv,
    ".parquet": parquet,
}


def reader_for(path: Path) -> Reader:
    """Choose the reader by suffix; a further ``.gz`` means gzip.

    Raises
    ------
    DataError
        When the file is missing, or the suffix is not known.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    if not suffixes or suffixes[-1] not in READERS:
        known = ", ".join(f"{suffix} and {suffix}.gz" for suffix in READERS)
        raise DataError(f"{path}: cannot tell the format by its name", hint=f"known are {known}")
    return READERS[suffixes[-1]]


def column_names(path: Path) -> list[str]:
    """Names of a file's columns, in order.

    Raises
    ------
    DataError
        When the file cannot be read.
    """
    return reader_for(path).column_names(path)


def read_columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Read some of a file's columns.

    Parameters
    ----------
    path : Path
    names : sequence of str
        Columns of the file; each must be in it once.

    Returns
    -------
    pyarrow.Table
        Text from CSV, the file's own types from Parquet; the rows in file order.

    Raises
    ------
    DataError
        When the file cannot be read, or a name stands for two columns.
    """
    reader = reader_for(path)
    found = reader.column_names(path)
    twice = [name for name in names if found.count(name) > 1]
    if twice:
        raise DataError(
            f"{path}: {len(twice)} column name(s) occur more than once: {', '.join(twice)}",
            hint="rename them in the file; which one is meant cannot be told",
        )
    return reader.read_columns(path, names)
