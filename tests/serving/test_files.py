from __future__ import annotations

import csv
import gzip
import io
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow
import pyarrow.parquet as parquet
import pytest

from fedrisk.errors import DataError, UsageError
from fedrisk.serving.files import score_file
from fedrisk.serving.records import RecordStream
from fedrisk.serving.scoring import Scorer
from fedrisk.study.values import number_or_text

from .conftest import fit

SCORER = Scorer(fit()[0])
RECORDS = [
    'id,age,"pm2.5",marker,sex,ward,note',
    '007,50,12.50,-1,male,a,"likes ""tea"", and cake"',
    "008,30.0,NA,0.5,,c d,",
    '009,80,,2,female,"b","two\nlines"',
]
TEXT = "\n".join(RECORDS) + "\n"
ROWS = [
    {"age": 50.0, "pm2.5": 12.5, "marker": -1.0, "sex": "male", "ward": "a"},
    {"age": 30.0, "pm2.5": None, "marker": 0.5, "sex": None, "ward": "c d"},
    {"age": 80.0, "pm2.5": None, "marker": 2.0, "sex": "female", "ward": "b"},
]
RISKS = [SCORER.risk(row) for row in ROWS]
LEVELS = [SCORER.level(risk) for risk in RISKS]
ENDS = ["risk_score,risk_level", *(f"{r},{level}" for r, level in zip(RISKS, LEVELS, strict=True))]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_bytes(TEXT.encode())
    return path


def scores(path: Path) -> list[tuple[float, str]]:
    if path.suffix == ".parquet":
        rows = parquet.read_table(path).to_pylist()
    else:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    return [(float(row["risk_score"]), row["risk_level"]) for row in rows]


def assert_scored(path: Path) -> None:
    found = scores(path)
    assert [level for _, level in found] == LEVELS
    assert [risk for risk, _ in found] == pytest.approx(RISKS, abs=1e-12)


def test_lines_stay_as_they_were_with_scores_at_their_end(source: Path) -> None:
    target = source.with_name("scored.csv")
    tally = score_file(SCORER, source, target)
    assert_scored(target)
    lines = [f"{record},{end}\n" for record, end in zip(RECORDS, ENDS, strict=True)]
    assert target.read_text() == "".join(lines)
    assert tally.document() == {
        "rows": 3,
        "scored": 3,
        "blank": 0,
        "violations": 0,
        "levels": {level: LEVELS.count(level) for level in ("low", "medium", "high")},
    }
    assert sorted(path.name for path in source.parent.iterdir()) == ["rows.csv", "scored.csv"]


NUMBERS = ["1", "-1.5", "+2", ".5", "5.", "1e3", "1E-3", " 7 ", "\t7", "nan", "NaN", "inf", "-inf"]
NUMBERS += [
    "Infinity",
    "1e999",
    "1e-999",
    "0x10",
    "1_000",
    "1,000",
    "--1",
    "1 2",
    "x",
    "1f",
    "null",
]


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_alone_in_its_block_is_read_as_among_texts(tmp_path: Path, text: str) -> None:
    given, target = tmp_path / "given.csv", tmp_path / "scored.csv"
    given.write_text(f'age,pm2.5,marker,sex,ward\n50,1,"{text}",male,a\n')
    score_file(SCORER, given, target, allow_wrong=True)
    number = number_or_text(text)
    if isinstance(number, float) and math.isfinite(number):
        row = {"age": 50.0, "pm2.5": 1.0, "marker": number, "sex": "male", "ward": "a"}
        assert scores(target)[0][0] == pytest.approx(SCORER.risk(row), abs=1e-12)
    else:
        assert target.read_text().endswith(",,\n")


@pytest.mark.parametrize("text", ["1e999", "-Infinity", "NaN"])
def test_a_value_is_told_as_it_stands_in_the_file(tmp_path: Path, text: str) -> None:
    given = tmp_path / "given.csv"
    given.write_text(f"age,pm2.5,marker,sex,ward\n50,1,{text},male,a\n")
    with pytest.raises(DataError) as caught:
        score_file(SCORER, given, tmp_path / "out.csv")
    assert [(v.value, v.rule) for v in caught.value.violations] == [(text, "must be finite")]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_every_format_gives_the_same_scores(source: Path, kind: str, suffix: str) -> None:
    given = source.with_name(f"given.{kind}")
    if kind == "csv.gz":
        given.write_bytes(gzip.compress(TEXT.encode()))
    elif kind == "csv":
        given.write_bytes(TEXT.encode())
    else:
        parquet.write_table(arrow.read_csv(source, parse_options=several_lines()), given)
    target = source.with_name(f"scored.{suffix}")
    assert score_file(SCORER, given, target).rows == 3
    assert_scored(target)
    if suffix == "parquet" and kind != "parquet":
        assert parquet.read_table(target)["id"].to_pylist() == ["007", "008", "009"]


def several_lines() -> arrow.ParseOptions:
    return arrow.ParseOptions(newlines_in_values=True)


def test_parquet_keeps_other_columns_with_types_and_metadata(tmp_path: Path) -> None:
    table = pa.table({name: [row[name] for row in ROWS] for name in ROWS[0]})
    table = table.append_column("seen", pa.array([1, None, 3], pa.timestamp("us", "UTC")))
    table = table.append_column("tags", pa.array([["a"], [], None]))
    table = table.replace_schema_metadata({"source": "ward 7"})
    given, target = tmp_path / "given.parquet", tmp_path / "scored.parquet"
    parquet.write_table(table, given, row_group_size=2)
    score_file(SCORER, given, target)
    scored = parquet.read_table(target)
    assert scored.drop_columns(["risk_score", "risk_level"]).equals(table)
    assert scored.schema.metadata[b"source"] == b"ward 7"
    assert_scored(target)


def test_bytes_that_are_no_text_pass_through(tmp_path: Path) -> None:
    given, target = tmp_path / "given.csv", tmp_path / "scored.csv"
    given.write_bytes(
        b"\xef\xbb\xbfage,pm2.5,marker,sex,ward,note\r\n\r\n50,1,2,male,a,caf\xe9\r\n60,1,2,male,a,\0"
    )
    score_file(SCORER, given, target)
    lines = target.read_bytes().split(b"\r\n")
    assert lines[0] == b"\xef\xbb\xbfage,pm2.5,marker,sex,ward,note,risk_score,risk_level"
    assert lines[1] == b""
    assert lines[2].startswith(b"50,1,2,male,a,caf\xe9,0.")
    assert lines[3].startswith(b"60,1,2,male,a,\0,0.")


def test_blocks_change_nothing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = source.with_name("whole.csv"), source.with_name("parts.csv")
    score_file(SCORER, source, whole)
    monkeypatch.setattr(
        "fedrisk.serving.csv_scoring.RecordStream",
        lambda stream, name: RecordStream(stream, name, chunk=7),
    )
    score_file(SCORER, source, parts)
    assert parts.read_bytes() == whole.read_bytes()


BAD = "age,pm2.5,marker,sex,ward\n50,1,2,male,a\n500,x,2,male,a\n60,1,2,male,a\n60,1,,male,q\n"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_that_break_the_study_stop_the_work(tmp_path: Path, suffix: str) -> None:
    given, target = tmp_path / "given.csv", tmp_path / f"scored.{suffix}"
    given.write_text(BAD)
    target.write_text("from before")
    with pytest.raises(DataError, match="4 violation") as caught:
        score_file(SCORER, given, target)
    assert [(v.row, v.column, v.value) for v in caught.value.violations] == [
        (2, "age", "500"),
        (2, "pm2.5", "x"),
        (4, "marker", ""),
        (4, "ward", "q"),
    ]
    assert caught.value.violations[0].file == str(given)
    assert target.read_text() == "from before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.csv", f"scored.{suffix}"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_or_they_get_no_score(tmp_path: Path, suffix: str) -> None:
    given, target = tmp_path / "given.csv", tmp_path / f"scored.{suffix}"
    given.write_text(BAD)
    tally = score_file(SCORER, given, target, allow_wrong=True)
    assert (tally.rows, tally.blank, tally.violations) == (4, 2, 4)
    assert sum(tally.levels.values()) == 2
    if suffix == "csv":
        lines = target.read_text().splitlines()
        assert lines[2] == "500,x,2,male,a,,"
        assert lines[4] == "60,1,,male,q,,"
        assert lines[1].startswith("50,1,2,male,a,0.")
    else:
        table = parquet.read_table(target)
        assert table["risk_score"].is_null().to_pylist() == [False, True, False, True]
        assert table["risk_level"].is_null().to_pylist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("age,marker\n1,2\n", "columns to score"),
        ("age;pm2.5;marker;sex;ward\n", "columns to score"),
        ("age,pm2.5,marker,sex,ward\n50,1,2,male\n", "another number of fields"),
        ("age,pm2.5,marker,sex,ward\n50,1,2,male,a,7\n", "another number of fields"),
        ('age,pm2.5,marker,sex,ward\n50,1,2,male,"a\n60,1,2,male,a\n', "violation"),
        ("age,pm2.5,marker,sex,ward,n\n50,1,2,male,a,5\r60,1,2,male,a,\n", "not CSV"),
    ],
)
def test_what_is_not_such_a_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    given, target = tmp_path / "given.csv", tmp_path / "scored.csv"
    given.write_text(text)
    with pytest.raises(DataError, match=message):
        score_file(SCORER, given, target)
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_carriage_returns_alone_are_an_error_with_a_hint(tmp_path: Path, suffix: str) -> None:
    given, target = tmp_path / "given.csv", tmp_path / f"scored{suffix}"
    given.write_bytes(TEXT.replace("\n", "\r").encode())
    with pytest.raises(DataError, match="the header is not CSV") as caught:
        score_file(SCORER, given, target)
    assert "carriage return" in caught.value.hint
    assert not target.exists()


def test_ragged_rows_are_named(tmp_path: Path) -> None:
    given = tmp_path / "given.csv"
    given.write_text("age,pm2.5,marker,sex,ward\n50,1,2,male,a\n50,1\n50,1,2,male,a\n5,5,5,5,5,5\n")
    with pytest.raises(DataError) as caught:
        score_file(SCORER, given, tmp_path / "out.csv")
    assert [(v.row, v.rule) for v in caught.value.violations] == [
        (2, "must have 5 fields, has 2"),
        (4, "must have 5 fields, has 6"),
    ]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv.gz"])
def test_a_damaged_file_is_an_error(tmp_path: Path, name: str) -> None:
    given = tmp_path / name
    given.write_bytes(gzip.compress(TEXT.encode() * 100)[:60])
    with pytest.raises(DataError):
        score_file(SCORER, given, tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_header_alone_gives_a_header(tmp_path: Path) -> None:
    given, target = tmp_path / "given.csv", tmp_path / "scored.csv"
    given.write_text("ward,sex,marker,pm2.5,age\n")
    assert score_file(SCORER, given, target).rows == 0
    assert target.read_text() == "ward,sex,marker,pm2.5,age,risk_score,risk_level\n"


def test_odd_paths_are_usage_errors(source: Path) -> None:
    with pytest.raises(UsageError, match="same file"):
        score_file(SCORER, source, source)
    with pytest.raises(UsageError, match="format"):
        score_file(SCORER, source, source.with_name("out.xlsx"))
    with pytest.raises(UsageError, match="no such folder"):
        score_file(SCORER, source, source.parent / "none" / "out.csv")
    with pytest.raises(DataError, match="no such file"):
        score_file(SCORER, source.with_name("none.csv"), source.with_name("out.csv"))
