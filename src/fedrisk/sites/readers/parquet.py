"""Parquet files, as pandas, Spark, DuckDB or R write them; a gzipped one is unpacked in memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedrisk.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def _open(path: Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".gz":
            return pq.ParquetFile(pa.BufferReader(gzip.decompress(path.read_bytes())))
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from None


def column_names(path: Path) -> list[str]:
    """Read the schema."""
    with _open(path) as file:
        return list(file.schema_arrow.names)


def read_columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Read columns in the types that the file declares."""
    import pyarrow as pa

    with _open(path) as file:
        try:
            table = file.read(columns=list(names)).select(list(names))
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: cannot be read as Parquet: {error}") from None
    return table
