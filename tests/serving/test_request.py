from __future__ import annotations

import json
import math
import tracemalloc

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.errors import DataError, UsageError
from fedrisk.serving.request import SHOWN, RequestValidator, violation_document
from fedrisk.study import CategoryFeature, Study
from fedrisk.study.columns import Column
from fedrisk.study.rules import check_feature

from .conftest import ROW, STUDY

VALIDATOR = RequestValidator(STUDY, most_rows=200)


def problems(body: object) -> list[tuple]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(DataError) as caught:
        VALIDATOR.row(text)
    told = map(violation_document, caught.value.violations)
    return [(t["field"], t["value"], t["rule"]) for t in told]


def test_a_row_that_fits_has_every_feature() -> None:
    assert VALIDATOR.row(json.dumps(ROW).encode()) == ROW


def test_missing_values_are_none_where_the_study_allows_them() -> None:
    row = VALIDATOR.row(b'{"age": 50, "marker": 0, "ward": "a", "sex": null}')
    assert row == {"age": 50.0, "marker": 0.0, "ward": "a", "sex": None, "pm2.5": None}


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("age", 130, "must be between 0 and 120 year"),
        ("age", -0.5, "must be between 0 and 120 year"),
        ("pm2.5", -1, "must be at least 0 ug/m3"),
        ("marker", 1e308, "must not be larger than 1e+100 in size"),
        ("marker", -1.1e100, "must not be larger than 1e+100 in size"),
        ("pm2.5", 1e200, "must not be larger than 1e+100 in size"),
        ("pm2.5", -1e200, "must be at least 0 ug/m3"),
        ("age", "61", "must be a number"),
        ("age", True, "must be a number"),
        ("age", None, "must not be missing"),
        ("ward", "z", "must be one of a, b, c d"),
        ("ward", None, "must not be missing"),
        ("sex", 1, "must be one of female, male"),
        ("colour", "red", "is not a feature of the study"),
    ],
)
def test_a_value_that_breaks_the_study_is_told_with_its_rule(field, value, rule) -> None:
    assert problems({**ROW, field: value}) == [(field, value, rule)]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(text: str) -> None:
    body = json.dumps(ROW).replace("-1.25", text).encode()
    ((field, value, rule),) = problems(body)
    assert (field, rule) == ("marker", "must be finite")
    assert isinstance(value, str)


def test_every_problem_is_told_at_once() -> None:
    found = problems({"age": 130, "marker": "x", "sex": "male", "extra": 1})
    assert {field for field, _, _ in found} == {"age", "marker", "ward", "extra"}


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b'{"age": 0x1}', b"\xff", b"{'a':1}"])
def test_what_is_not_json_is_a_usage_error(body: bytes) -> None:
    with pytest.raises(UsageError, match="not valid JSON"):
        VALIDATOR.row(body)


@pytest.mark.parametrize("body", [b"[1]", b"3", b"null", b'"text"'])
def test_a_row_must_be_an_object(body: bytes) -> None:
    ((field, _, rule),) = problems(body)
    assert field is None
    assert rule.startswith("must be an object")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(list(ROW)), inner)
        ),
    )
)
def test_any_json_gives_a_row_or_problems_that_can_be_told(document: object) -> None:
    body = json.dumps(document).encode()
    try:
        row = VALIDATOR.row(body)
    except DataError as error:
        assert 1 <= len(error.violations) <= SHOWN  # noqa: PT017 a row is as good as an error
        json.dumps([violation_document(v) for v in error.violations], allow_nan=False).encode()
    except UsageError:
        assert isinstance(document, dict | list)
    else:
        assert set(row) == set(STUDY.feature_names)


@given(st.binary())
def test_any_bytes_are_answered_by_our_own_errors(body: bytes) -> None:
    for read in (VALIDATOR.row, VALIDATOR.rows):
        with pytest.raises((DataError, UsageError)):
            read(body)


@given(st.floats(0, 120), st.floats(-1e100, 1e100), st.sampled_from(["female", "male", None]))
def test_valid_values_arrive_unchanged(age: float, marker: float, sex: str | None) -> None:
    row = {**ROW, "age": age, "marker": marker, "sex": sex}
    read = VALIDATOR.row(json.dumps(row).encode())
    assert read == row
    assert all(math.copysign(1, read[n]) == math.copysign(1, row[n]) for n in ("age", "marker"))


def test_a_batch_is_a_list_or_wrapped() -> None:
    for body in ([ROW, ROW], {"rows": [ROW, ROW]}):
        assert list(VALIDATOR.rows(json.dumps(body).encode())) == [ROW, ROW]


@pytest.mark.parametrize(
    "body",
    [
        b"3",
        b"{}",
        b'{"row": []}',
        b'{"rows": 1}',
        b'{"rows": [{}], "more": 1}',
        b'{"": 1, "rows": [3]}',
    ],
)
def test_another_shape_of_batch_is_a_usage_error(body: bytes) -> None:
    with pytest.raises(UsageError, match="a batch is"):
        VALIDATOR.rows(body)


def test_problems_of_a_batch_name_the_row() -> None:
    rows = [ROW, {**ROW, "age": 200}, 3]
    for body in (rows, {"rows": rows}):
        with pytest.raises(DataError) as caught:
            VALIDATOR.rows(json.dumps(body).encode())
        told = [violation_document(v) for v in caught.value.violations]
        assert [(t["row"], t["field"]) for t in told] == [(2, "age"), (3, None)]


def test_many_problems_are_counted_but_not_all_told() -> None:
    body = json.dumps([{**ROW, "age": 200}] * 150).encode()
    with pytest.raises(DataError) as caught:
        VALIDATOR.rows(body)
    assert len(caught.value.violations) == SHOWN
    assert caught.value.total == 150


def refused(body: bytes, wrong: type[Exception]) -> Exception:
    """The error, found without keeping more of it than a tenth of what all of it would take."""
    tracemalloc.start()
    try:
        with pytest.raises(wrong) as caught:
            VALIDATOR.rows(body)
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()
    return caught.value


def test_a_flood_of_wrong_values_is_counted_and_not_kept() -> None:
    strange = {f"k{number}": 1 for number in range(700)}
    for body in ([strange] * 200, {"rows": [strange] * 200}):
        error = refused(json.dumps(body).encode(), DataError)
        assert (error.total, len(error.violations)) == (200 * 703, SHOWN)
    lines = [json.dumps(strange).encode()] * 200
    with pytest.raises(DataError) as caught:
        VALIDATOR.lines(lines)
    assert (caught.value.total, len(caught.value.violations)) == (200 * 703, SHOWN)


def test_a_list_without_end_is_refused_at_its_first_row_too_many() -> None:
    for row in (b"{}", b"1"):
        many = b"[" + b",".join([row] * 100_000) + b"]"
        for body in (many, b'{"rows": ' + many + b"}"):
            refused(body, UsageError)
    with pytest.raises(UsageError, match="more than 200 rows"):
        VALIDATOR.rows(json.dumps([ROW] * 201).encode())


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([*ROW, "x", "y"]),
            st.none()
            | st.booleans()
            | st.floats()
            | st.integers()
            | st.sampled_from(["a", "male"]),
        )
        | st.integers()
        | st.none(),
        min_size=1,
        max_size=8,
    )
)
@settings(deadline=None)
def test_a_batch_tells_of_each_row_what_it_would_be_told_alone(rows: list) -> None:
    alone: list[tuple] = []
    for number, row in enumerate(rows, start=1):
        try:
            VALIDATOR.row(json.dumps(row).encode())
        except DataError as error:
            alone += [(number, v.column, repr(v.value), v.rule) for v in error.violations]
    body = json.dumps(rows).encode()
    if not alone:
        assert len(VALIDATOR.rows(body)) == len(rows)
        return
    with pytest.raises(DataError) as caught:
        VALIDATOR.rows(body)
    told = [(v.row, v.column, repr(v.value), v.rule) for v in caught.value.violations]
    assert (told, caught.value.total) == (alone, len(alone))


@pytest.mark.parametrize("count", [0, 201])
def test_empty_and_long_batches_are_refused(count: int) -> None:
    body = json.dumps([ROW] * count).encode()
    with pytest.raises(UsageError, match="rows"):
        VALIDATOR.rows(body)


def test_a_level_may_have_the_name_of_a_python_type() -> None:
    assert problems({**ROW, "ward": {"a": 1}}) == [
        ("ward", "an object", "must be one of a, b, c d")
    ]


LEVELS = ("0", "1", "true", "II", "2.0")
CODED = Study(
    name="coded",
    label="y",
    positive=(1,),
    features=(
        CategoryFeature(name="must", kind="category", levels=LEVELS),
        CategoryFeature(name="may", kind="category", levels=LEVELS, missing="allow"),
    ),
)
CODES = RequestValidator(CODED)
TEXTS = st.sampled_from(["0", " 1", "1.0", "0.00", "true", "True", "2", "2.0", "II", " II ", "ii"])
VALUES = [
    st.one_of(TEXTS, st.sampled_from(["", "NA", " NA ", "x"]), st.none()),
    st.one_of(st.integers(-1, 3), st.none()),
    st.one_of(st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0, 1e300]), st.none()),
    st.one_of(st.booleans(), st.none()),
]


@settings(deadline=None)  # the first call imports Arrow
@given(st.one_of(*VALUES), st.sampled_from(["must", "may"]))
def test_json_takes_the_levels_that_files_take(value: object, name: str) -> None:
    feature = next(f for f in CODED.features if f.name == name)
    read = check_feature(feature, Column(pa.array([value])))
    row = {"must": "II", "may": "II", name: value}
    try:
        found = CODES.row(json.dumps(row).encode())[name]
    except DataError as error:
        ((rule, _),) = read.faults
        assert [(v.column, v.rule) for v in error.violations] == [(name, rule)]  # noqa: PT017
        return
    assert not read.faults
    code = int(read.values[0])
    assert found == (LEVELS[code] if code >= 0 else None)
    assert found is None or type(found) is str  # the scorer looks levels up by their text


@pytest.mark.parametrize("value", ["[]", "{}", '["0"]', "1" * 4000, "NaN", "Infinity", "1e999"])
def test_what_no_file_can_hold_is_no_level(value: str) -> None:
    with pytest.raises(DataError) as caught:
        CODES.row(b'{"must": %b}' % value.encode())
    told = [violation_document(violation) for violation in caught.value.violations]
    assert [each["field"] for each in told] == ["must"]
    json.dumps(told, allow_nan=False)


def test_the_last_of_two_equal_keys_counts() -> None:
    body = json.dumps(ROW).replace('"age"', '"age": 61, "age"').encode()
    assert VALIDATOR.row(body) == ROW
