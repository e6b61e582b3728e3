import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedrisk.errors import DataError
from fedrisk.sites.readers.parquet import column_names, read_columns

TABLE = pa.table({"a": [1, None], "b": ["x", "y"], "c": [1.5, 2.5]})


def test_types_and_the_asked_order_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE, path)
    assert column_names(path) == ["a", "b", "c"]
    assert read_columns(path, ["c", "a"]).equals(TABLE.select(["c", "a"]))


def test_gzip_reads_like_plain(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "rows.parquet")
    path = tmp_path / "rows.parquet.gz"
    path.write_bytes(gzip.compress((tmp_path / "rows.parquet").read_bytes()))
    assert read_columns(path, ["a", "b", "c"]).equals(TABLE)


def test_a_cut_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        column_names(path)


def test_text_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    )
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": broken}), path)
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_columns(path, ["a"])
