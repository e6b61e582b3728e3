import gzip
from pathlib import Path

import pytest

from fedrisk.errors import DataError
from fedrisk.sites.readers.csv import column_names, read_columns


def write(tmp_path: Path, content: bytes, name: str = "rows.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_values_stay_as_they_are_written(tmp_path: Path) -> None:
    path = write(tmp_path, b'a,b\n007, x \n"1,5","two\nlines"\n,NA\n')
    assert read_columns(path, ["b", "a"]).to_pydict() == {
        "b": [" x ", "two\nlines", "NA"],
        "a": ["007", "1,5", ""],
    }


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfa,b\n1,2\n")
    assert column_names(path) == ["a", "b"]
    assert read_columns(path, ["a"]).to_pydict() == {"a": ["1"]}


@pytest.mark.parametrize("name", ["rows.csv.gz", "ROWS.CSV.GZ", "rows.csv.Gz"])
def test_gzip_reads_like_plain(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, gzip.compress(b"a,b\n1,2\n"), name)
    assert column_names(path) == ["a", "b"]
    assert read_columns(path, ["a", "b"]).num_rows == 1


def test_gzip_in_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    members = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")
    path = write(tmp_path, members, "rows.csv.gz")
    assert read_columns(path, ["a"]).to_pydict() == {"a": ["1", "3"]}


@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", gzip.compress(b"a,b\n1,\xff\n")], ids=["plain", "not UTF-8"]
)
def test_what_is_not_what_its_name_says_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content, "ROWS.CSV.GZ")
    with pytest.raises(DataError, match=r"ROWS\.CSV\.GZ: (cannot be read|is not UTF-8)"):
        read_columns(path, ["a", "b"])


def test_a_cut_gzip_file_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(9000)))
    path = write(tmp_path, whole[: len(whole) // 2], "rows.csv.gz")
    with pytest.raises(DataError, match=r"rows\.csv\.gz: cannot be read"):
        read_columns(path, ["a"])


@pytest.mark.parametrize("content", [b"a,b", b"a,b\n"])
def test_a_header_without_rows(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    assert column_names(path) == ["a", "b"]
    try:
        assert read_columns(path, ["a"]).num_rows == 0
    except DataError as error:
        assert "no rows" in error.message  # noqa: PT017 both ways are right


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match="is empty"):
        column_names(write(tmp_path, content))


@pytest.mark.parametrize("content", ["ä,b\n1,2\n", "a,b\nä,2\n"])
def test_another_encoding_is_named(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, content.encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8"):
        column_names(path), read_columns(path, ["a"])


def test_semicolons_are_recognised(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="';' 2 times"):
        column_names(write(tmp_path, b"a;b;c\n1;2;3\n"))


def test_rows_with_other_lengths_are_all_named(tmp_path: Path) -> None:
    path = write(tmp_path, b"a,b\n1,2\n3\n\n4,5\n6,7,8\n")
    with pytest.raises(DataError, match="2 row") as caught:
        read_columns(path, ["a"])
    assert [(v.row, v.value, v.rule) for v in caught.value.violations] == [
        (2, "3", "must have 2 fields, has 1"),
        (4, "6,7,8", "must have 2 fields, has 3"),
    ]


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    path = write(tmp_path, b'a,b\n3,"4\n' + b"5,6\n" * 600_000)
    with pytest.raises(DataError, match="longer than a megabyte") as caught:
        read_columns(path, ["a", "b"])
    assert "never closed" in caught.value.hint
