"""Every reader, found by its suffix, reads one table into one cohort and refuses the rest."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from fedrisk.errors import DataError
from fedrisk.sites.cohort import load_cohort
from fedrisk.sites.readers import READERS, column_names, read_columns
from fedrisk.study import parse_study

#: How to write a table in each format: a new reader adds its line here.
WRITE = {".csv": pa.csv.write_csv, ".parquet": pa.parquet.write_table}
TABLE = pa.table(
    {
        "größe": [171.5, None, 168.0, 180.25],
        "town": ["a", "b", "with, comma", None],
        "unnamed": ["x", "y", "z", ""],
        "ill": [1, 0, 0, 1],
    }
)
STUDY = parse_study(
    {
        "name": "readers",
        "label": "ill",
        "positive": [1],
        "features": [
            {"name": "größe", "kind": "number", "missing": "allow"},
            {
                "name": "town",
                "kind": "category",
                "levels": ["a", "b", "with, comma"],
                "missing": "allow",
            },
        ],
    }
)
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=[f"{suffix}{gz}" for suffix in READERS for gz in ("", ".gz")])
def file(request, tmp_path):
    path = tmp_path / f"rows{request.param}"
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    WRITE[plain.suffix](TABLE, plain)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


def test_one_table_is_one_cohort(file):
    assert column_names(file) == TABLE.column_names
    assert read_columns(file, ["ill", "town"]).num_rows == 4
    cohort = load_cohort(STUDY, "here", file, AS_OF)
    np.testing.assert_array_equal(cohort.columns["größe"], [171.5, np.nan, 168.0, 180.25])
    assert cohort.columns["town"].tolist() == [0, 1, 2, -1]
    assert cohort.events.tolist() == [True, False, False, True]


def test_what_is_not_of_the_format_is_a_data_error_that_names_the_file(file):
    file.write_bytes(b"\x00\xff\xfe\x00 no table at all \x9c")
    with pytest.raises(DataError) as caught:
        load_cohort(STUDY, "here", file, AS_OF)
    assert file.name in caught.value.message


def test_a_file_cut_short_is_not_read_as_a_shorter_one(file):
    content = file.read_bytes()
    if file.suffix == ".csv":
        pytest.skip("a line missing at the end of plain CSV cannot be told")
    file.write_bytes(content[:-9])
    with pytest.raises(DataError):
        load_cohort(STUDY, "here", file, AS_OF)
