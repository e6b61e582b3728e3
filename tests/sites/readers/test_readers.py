import gzip
from pathlib import Path

import pytest

from fedrisk.errors import DataError
from fedrisk.sites.readers import READERS, column_names, read_columns, reader_for


@pytest.mark.parametrize("name", ["a.csv", "A.CSV", "a.b.csv.gz", "a.parquet", "a.parquet.gz"])
def test_the_suffix_chooses_the_reader(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    assert reader_for(path) is READERS[".parquet" if "parquet" in name else ".csv"]


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.gz"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    with pytest.raises(DataError, match="cannot tell the format") as caught:
        reader_for(path)
    assert ".parquet.gz" in caught.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file"):
        column_names(tmp_path / "nowhere.csv")


def test_only_a_wanted_column_must_be_unique(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,b\n1,2,3\n", encoding="utf-8")
    assert read_columns(path, ["a"]).to_pydict() == {"a": ["1"]}
    with pytest.raises(DataError, match="occur more than once: b"):
        read_columns(path, ["a", "b"])


@pytest.mark.parametrize("suffix", READERS)
def test_every_reader_refuses_what_is_not_its_format(tmp_path: Path, suffix: str) -> None:
    """A new format finds this test by being registered."""
    for name, content in {
        f"noise{suffix}": bytes(range(256)),
        f"empty{suffix}": b"",
        f"not-gzip{suffix}.gz": b"a,b\n1,2\n",
        f"noise{suffix}.gz": gzip.compress(bytes(range(256)))[:-9],
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_columns(path, ["a"])
