from __future__ import annotations

import csv
import io
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fedrisk.errors import DataError
from fedrisk.serving.records import RecordStream
from fedrisk.sites.readers import read_columns

fields = st.text(alphabet='ab,"\n\r ü', max_size=6)
tables = st.lists(st.tuples(fields, fields), min_size=1, max_size=12)


def pieces(data: bytes, chunk: int) -> tuple[bytes, list[bytes], bytes]:
    """Header, records with the line end before them, and what is left."""
    stream = RecordStream(io.BytesIO(data), "f.csv", chunk)
    records: list[bytes] = []
    while (block := stream.next(1)) is not None:
        ends = block.offsets.tolist()
        records += [block.data[a:b] for a, b in pairwise(ends)]
    return stream.header, records, stream.rest


@given(tables, st.sampled_from(["\n", "\r\n"]), st.integers(1, 40), st.booleans())
def test_records_are_those_of_a_csv_reader_and_every_byte_is_kept(
    table: list[tuple[str, str]], end: str, chunk: int, closed: bool
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("x", "y"), *table])
    data = text.getvalue().encode()
    if not closed:
        data = data[: -len(end)]
    header, records, rest = pieces(data, chunk)
    assert header + b"".join(records) + rest == data
    read = [next(csv.reader([r.removeprefix(end.encode()).decode()])) for r in records]
    expected = [next(csv.reader([row])) for row in map(quoted, table)]
    assert read == expected


@given(st.text(alphabet='a,"\n', max_size=30), st.sampled_from([b"", b"\xef\xbb\xbf"]))
@example('6" x 4",a\n"a"a"\na"",""\n', b"")
@example('"a\na"\n', b"\xef\xbb\xbf")
def test_marks_within_a_value_are_signs_like_others(text: str, begin: bytes) -> None:
    data = begin + text.encode() + b'"' * (text.count('"') % 2)
    expected = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")) if row]
    assume(expected and not text.startswith("\n"))
    header, records, rest = pieces(data, 7)
    assert header + b"".join(records) + rest == data
    header = header.removeprefix(begin)
    texts = [record.decode().lstrip("\n") for record in (header, *records)]
    assert [next(csv.reader(io.StringIO(text, newline=""))) for text in texts] == expected


@given(
    st.binary(max_size=80) | st.text(alphabet='a,"\n\r\ufeff', max_size=60).map(str.encode),
    st.integers(1, 20),
)
@example(b'a\nb\n\xef\xbb\xbf"\n', 1)  # a byte order mark that begins no file
def test_any_bytes_are_cut_alike_however_many_are_read_at_a_time(data: bytes, chunk: int) -> None:
    try:
        whole = pieces(data, len(data) + 1)
    except DataError:
        with pytest.raises(DataError):
            pieces(data, chunk)
        return
    header, records, rest = pieces(data, chunk)
    assert (header, records, rest) == whole
    assert data.endswith(header + b"".join(records) + rest)


def test_sites_and_scoring_read_the_same_records(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    lines = [b"size,note", b'6" x 4",a', b'"6""",b"', b'"4"",\n",c', b'2"" 3,"d"']
    path.write_bytes(b"\n".join(lines) + b"\n")
    table = read_columns(path, ["size", "note"])
    assert table["size"].to_pylist() == ['6" x 4"', '6"', '4",\n', '2"" 3']
    assert table["note"].to_pylist() == ["a", 'b"', "c", "d"]
    header, records, _ = pieces(path.read_bytes(), 5)
    assert [header, *(record[1:] for record in records)] == lines


def quoted(row: tuple[str, str]) -> str:
    return ",".join('"' + value.replace('"', '""') + '"' for value in row)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_blank_lines_go_with_the_record_after_them(chunk: int) -> None:
    header, records, rest = pieces(b"\na,b\n\n\r\n1,2\n\n3,4\n\n\n", chunk)
    assert header == b"\na,b"
    assert records == [b"\n\n\r\n1,2", b"\n\n3,4"]
    assert rest == b"\n\n\n"


@pytest.mark.parametrize("data", [b"", b"\n\n"])
def test_an_empty_file_is_an_error(data: bytes) -> None:
    with pytest.raises(DataError, match="is empty"):
        RecordStream(io.BytesIO(data), "f.csv")


@pytest.mark.parametrize("data", [b"a,b", b"a,b\n", b"a,b\r\n\r\n"])
def test_a_header_alone_has_no_records(data: bytes) -> None:
    header, records, rest = pieces(data, 2)
    assert (header, records) == (b"a,b", [])
    assert header + rest == data


def test_a_quote_that_is_never_closed_is_an_error() -> None:
    stream = RecordStream(io.BytesIO(b'a,b\n1,"2\n' + b"3,4\n" * 1000), "f.csv", 100, 1000)
    with pytest.raises(DataError, match="row 1: the row does not end"):
        stream.next(1)
