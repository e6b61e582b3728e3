"""A body of any length, cut anywhere, is answered as a small one is, byte for byte."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving.conftest import ROW, fit
from starlette.exceptions import HTTPException

from fedrisk.errors import DataError, FedriskError, UsageError
from fedrisk.models.checks import make_checks
from fedrisk.registry.cache import StoredModel, write_model
from fedrisk.serving.batch import decoding, streams
from fedrisk.serving.batch.child import whole as writing_whole
from fedrisk.serving.batch.decoding import Limited, Unzipped
from fedrisk.serving.batch.slices import SliceScorer
from fedrisk.serving.champion import ServedModel
from fedrisk.serving.formats import CsvFormat, Format, JsonFormat, NdjsonFormat


class Quiet(ServedModel):
    """A model that a failing test does not print."""

    def __repr__(self) -> str:
        return "served"


class Pieces:
    """A stream that hands on what it has in pieces of given sizes, in turn."""

    def __init__(self, body: bytes, sizes: list[int]) -> None:
        self.left, self.sizes, self.turn = body, sizes, 0

    def read(self, size: int) -> bytes:
        take = min(size, self.sizes[self.turn % len(self.sizes)])
        self.turn += 1
        part, self.left = self.left[:take], self.left[take:]
        return part


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> ServedModel:
    model, bins = fit()
    stored: StoredModel = write_model(
        tmp_path_factory.mktemp("model") / "champion",
        model.document(),
        bins,
        make_checks(model),
        name="clinic",
        version="1",
        run_id="r",
    )
    return Quiet.build(stored, datetime.now(UTC), 10_000)


def whole(served: ServedModel, form: Format, body: bytes, explain: bool = False) -> object:
    """What a small batch is answered, or its error."""
    try:
        rows = form.read(body, served.validator)
        return form.write(SliceScorer(served, explain=explain).score(rows))
    except FedriskError as error:
        return told(error)


def streamed(
    served: ServedModel, form: Format, body: bytes, sizes: list[int], explain: bool = False
) -> object:
    answer = io.BytesIO()
    try:
        scorer = SliceScorer(served, explain=explain)
        outcome = streams.score_body(form, Pieces(body, sizes), scorer, answer.write)
    except FedriskError as error:
        return told(error)
    assert outcome.rows == outcome.profile.rows == sum(outcome.levels.values())
    return answer.getvalue()


def told(error: FedriskError) -> object:
    if isinstance(error, DataError):
        return error.message, error.violations, error.total
    return error.message


ages = st.one_of(
    st.floats(0, 120).map(lambda x: round(x, 3)), st.sampled_from(["", "NA", "much", 130, "1e2"])
)
usual = st.floats(18, 100).map(lambda x: round(x, 2))
numbers = st.one_of(st.floats(0, 500).map(lambda x: round(x, 3)), st.sampled_from(["", "NA", 1e9]))
markers = st.floats(-40, 40)


def rows_of(age: st.SearchStrategy) -> st.SearchStrategy:
    row = st.fixed_dictionaries(
        {
            "age": age,
            "pm2.5": numbers,
            "marker": markers,
            "sex": st.sampled_from(["male", "female", "", "NA", " male"]),
            "ward": st.sampled_from(["a", "b", "c d"]),
        }
    )
    return st.lists(row, min_size=1, max_size=30)


cuts = st.lists(st.integers(1, 200), min_size=1, max_size=8)


def csv_text(rows: list[dict], quoting: int = csv.QUOTE_MINIMAL, end: str = "\n") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), quoting=quoting, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


@settings(deadline=None, max_examples=40)
@given(
    rows=st.one_of(rows_of(usual), rows_of(ages)),
    sizes=cuts,
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_csv_cut_anywhere_is_answered_as_a_whole(served, rows, sizes, quoting, end, mark) -> None:
    body = mark + csv_text(rows, quoting, end)
    assert streamed(served, CsvFormat(), body, sizes) == whole(served, CsvFormat(), body)


def json_text(rows: list[dict]) -> list[bytes]:
    return [json.dumps({k: v or None for k, v in row.items()}).encode() for row in rows]


@settings(deadline=None, max_examples=40)
@given(
    rows=st.one_of(rows_of(usual), rows_of(ages)),
    sizes=cuts,
    end=st.sampled_from([b"\n", b"\r\n"]),
    last=st.sampled_from([b"", b"\n", b"\n\n"]),
)
def test_json_lines_cut_anywhere_are_answered_as_a_whole(served, rows, sizes, end, last) -> None:
    form, body = NdjsonFormat(), end.join(json_text(rows)) + last
    assert streamed(served, form, body, sizes) == whole(served, form, body)


@pytest.mark.parametrize("form", [NdjsonFormat(), CsvFormat()])
def test_explanations_are_those_of_a_whole_body(served, form: Format) -> None:
    rows = [{**ROW, "age": 20.0 + place} for place in range(60)]
    lines = b"\n".join(json_text(rows))
    body = lines if isinstance(form, NdjsonFormat) else csv_text(rows)
    found, expected = streamed(served, form, body, [90], True), whole(served, form, body, True)
    if isinstance(form, CsvFormat):
        assert found.splitlines()[0] == expected.splitlines()[0]
    # The last digit of an interval depends on how many rows are multiplied at a time.
    for mine, theirs in zip(numbers_in(found), numbers_in(expected), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-12)


def numbers_in(text: bytes) -> list[float]:
    return [float(x) for x in re.findall(rb"-?\d+\.\d+(?:e-?\d+)?", text)]


@settings(deadline=None, max_examples=25)
@given(
    lines=st.lists(
        st.sampled_from(
            [b"", b"{", b"{}", b'{"age":"}', b'{"age":"},{"', b"[1]", *json_text([ROW])]
        ),
        min_size=1,
        max_size=8,
    ),
    sizes=cuts,
)
def test_lines_that_are_no_objects_are_told_alike(served, lines, sizes) -> None:
    form, body = NdjsonFormat(), b"\n".join(lines) + b"\n"
    assert streamed(served, form, body, sizes) == whole(served, form, body)


CSV = csv_text([ROW] * 3)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"age\n",
        CSV.replace(b"age,", b"age,age,"),
        CSV.replace(b"\n", b",more\n", 1).replace(b"c d\n", b"c d,1\n"),
        CSV + b"1,2\n",
        CSV + b'1,"2\n',
        CSV + b"\xff,1,2,male,a\n",
        CSV.replace(b"71.5", b'7"1.5', 1),
        CSV.replace(b"71.5", b"5", 2),
        b"\n" + CSV,
    ],
)
def test_odd_csv_is_told_alike(served, body: bytes) -> None:
    assert streamed(served, CsvFormat(), body, [7]) == whole(served, CsvFormat(), body)


def test_lines_that_end_in_a_carriage_return_alone_are_refused(served) -> None:
    with pytest.raises(UsageError, match="carriage return"):
        feed(CsvFormat(), io.BytesIO(CSV.replace(b"\n", b"\r")), SliceScorer(served))


def test_the_fast_way_is_taken_and_writes_certain_risks_as_python_does(served, monkeypatch) -> None:
    rows = [{**ROW, "marker": marker} for marker in (-90.0, -40.0, 0.0, 60.0, 200.0)]
    slow = whole(served, CsvFormat(), csv_text(rows))
    monkeypatch.setattr(CsvFormat, "read", None)
    assert streamed(served, CsvFormat(), csv_text(rows), [50]) == slow
    assert b"e-" in slow


def test_wrong_rows_are_gathered_from_all_slices_and_no_more_is_scored(served) -> None:
    rows = [{**ROW, "age": 130 + place} if place % 10 == 9 else ROW for place in range(500)]
    scorer = SliceScorer(served)
    with pytest.raises(DataError) as caught:
        streams.score_body(CsvFormat(), Pieces(csv_text(rows), [100]), scorer, lambda _: None)
    assert caught.value.total == 50
    assert [v.row for v in caught.value.violations][:3] == [10, 20, 30]
    live = SliceScorer(served, gather=False)
    with pytest.raises(DataError) as caught:
        streams.score_body(CsvFormat(), Pieces(csv_text(rows), [100]), live, lambda _: None)
    assert caught.value.total < 50


def feed(form: Format, source: object, scorer: SliceScorer) -> None:
    streams.score_body(form, source, scorer, lambda _: None)


def drain(stream: Unzipped) -> int:
    return sum(map(len, iter(lambda: stream.read(1000), b"")))


def test_limits_of_rows_lines_and_bytes(served) -> None:
    body = b"\n".join(json_text([ROW] * 20))
    few, any_number = SliceScorer(served, most_rows=10), SliceScorer(served)
    with pytest.raises(UsageError, match="more than 10 rows"):
        feed(NdjsonFormat(), io.BytesIO(body), few)
    with pytest.raises(UsageError, match="longer than"):
        feed(NdjsonFormat(), io.BytesIO(b"x" * (3 << 20)), any_number)
    with pytest.raises(UsageError, match="does not end"):
        feed(CsvFormat(), io.BytesIO(CSV + b'"' + b"x\n" * (2 << 20)), any_number)
    with pytest.raises(HTTPException, match="413"):
        feed(NdjsonFormat(), Limited(io.BytesIO(body), 100), any_number)
    with pytest.raises(HTTPException, match="413"):
        feed(JsonFormat(), io.BytesIO(b" " * (17 << 20)), any_number)


@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=4), sizes=cuts)
def test_gzip_of_several_members_is_unpacked_wherever_it_is_cut(parts, sizes) -> None:
    packed = Unzipped(Pieces(b"".join(map(gzip.compress, parts)), sizes))
    found = b"".join(iter(lambda: packed.read(50), b""))
    assert found == b"".join(parts)


def test_what_is_no_gzip_ends_early_or_is_a_bomb_is_refused(monkeypatch) -> None:
    good = gzip.compress(b"x" * 100_000)
    for bad in (b"plain text", good[:-5], good + b"more"):
        with pytest.raises(UsageError, match="gzip"):
            drain(Unzipped(io.BytesIO(bad)))
    monkeypatch.setattr(decoding, "UNSUSPICIOUS", 10_000)
    bomb = Unzipped(io.BytesIO(good))
    with pytest.raises(UsageError, match="unpacks"):
        drain(bomb)
    assert bomb._out < 40_000
    with pytest.raises(HTTPException):
        Limited(Unzipped(io.BytesIO(good)), 500).read(1000)


def test_a_file_that_takes_less_than_it_is_given_gets_all_of_it() -> None:
    class Slow(io.BytesIO):
        def write(self, data: object) -> int:
            return super().write(bytes(data)[:3])

    target = Slow()
    writing_whole(target)(b"risk_score,risk_level")
    assert target.getvalue() == b"risk_score,risk_level"
