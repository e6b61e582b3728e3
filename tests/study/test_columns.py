import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.study.columns import (
    Column,
    read_levels,
    read_numbers,
    read_times,
    read_truths,
    type_fits,
)


def column(values: list[Any], kind: pa.DataType | None = None) -> Column:
    return Column(pa.chunked_array([pa.array(values, kind)]))


def test_what_counts_as_missing() -> None:
    assert column(["", " ", "NA", " NA ", None, "na", "N/A", "x"]).missing.tolist() == (
        [True] * 5 + [False] * 3
    )
    assert column([1.0, math.nan, None, math.inf]).missing.tolist() == [False, True, True, False]


def test_an_untyped_empty_column_is_all_missing() -> None:
    assert column([None, None], pa.null()).missing.all()


@settings(deadline=None)  # the first call imports Arrow
@given(st.lists(st.one_of(st.none(), st.floats(), st.just("n/k"), st.just("1,5"))))
def test_good_numbers_are_exact_and_bad_ones_are_found(values: list[Any]) -> None:
    texts = [None if value is None else str(value) for value in values]
    numbers, unreadable = read_numbers(column(texts, pa.string()))
    for value, number, wrong in zip(values, numbers, unreadable, strict=True):
        assert wrong == isinstance(value, str)
        if isinstance(value, float):
            np.testing.assert_equal(number, value)
        else:
            assert math.isnan(number)


@pytest.mark.parametrize(
    "text", ["0x1f", "1_000", "1,000", "1 000", "12.5.1", "--1", "٣", "1e", "x"]
)
def test_texts_that_are_no_numbers(text: str) -> None:
    assert read_numbers(column(["1", text]))[1].tolist() == [False, True]


@pytest.mark.parametrize("text", ["1", "+1", "1.", " 1 ", "1.0", "10e-1", ".1e1"])
def test_texts_that_are_numbers_beside_one_that_is_not(text: str) -> None:
    for others in ([], ["x"]):
        numbers, unreadable = read_numbers(column([text, *others]))
        assert (numbers[0], unreadable[0]) == (1.0, False)


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(5, 2), pa.string()]
)
def test_numbers_of_every_type(kind: pa.DataType) -> None:
    values = [Decimal(3), None] if pa.types.is_decimal(kind) else [3, None]
    if kind == pa.string():
        values = ["3", None]
    numbers, unreadable = read_numbers(column(values, kind))
    np.testing.assert_equal(numbers, [3.0, np.nan])
    assert not unreadable.any()


def test_dictionaries_are_read_by_their_values() -> None:
    encoded = Column(pa.chunked_array([pa.array(["1", "2", "1", None]).dictionary_encode()]))
    np.testing.assert_equal(read_numbers(encoded)[0], [1, 2, 1, np.nan])


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (["1", "2"], ("1", "2")),
        ([1, 2], ("1", "2")),
        ([1.0, 2.0], ("1", "2")),
        (["1.0", "2.0"], ("1", "2")),
        ([1, 2], ("1.0", "2.0")),
        ([True, False], ("true", "false")),
        (["True", "FALSE"], ("true", "false")),
        ([True, False], ("True", "False")),
        (["1", "1.0"], ("1", "1.0")),
        ([" a", "b "], ("a", "b")),
    ],
)
def test_levels_match_across_formats(values: list[Any], levels: tuple[str, ...]) -> None:
    codes, unknown = read_levels(column(values), levels)
    assert codes.tolist() == [0, 1]
    assert codes.dtype == np.int32
    assert not unknown.any()


def test_unknown_levels_are_not_missing_ones() -> None:
    codes, unknown = read_levels(column(["a", "A", None, "01"]), ("a", "1"))
    assert codes.tolist() == [0, -1, -1, -1]
    assert unknown.tolist() == [False, True, False, True]


def test_levels_that_differ_in_form_alone_are_told_by_their_text() -> None:
    codes, unknown = read_levels(column(["1.0", "1.00", "1"]), ("1.0", "1.00"))
    assert codes.tolist() == [0, 1, -1]
    assert unknown.tolist() == [False, False, True]


def test_truth_values() -> None:
    texts = ["true", "YES", "1", "1.0", "False", "no", "0", "maybe", None]
    truths, unreadable = read_truths(column(texts))
    assert truths.tolist() == [True] * 4 + [False] * 5
    assert unreadable.tolist() == [False] * 7 + [True, False]
    assert read_truths(column([True, False, None]))[0].tolist() == [True, False, False]


MOMENT = np.datetime64("2024-05-31T08:30:00", "us")


@pytest.mark.parametrize(
    "values",
    [
        ["2024-05-31T08:30"],
        ["2024-05-31 08:30:00"],
        ["2024-05-31T08:30:00Z"],
        ["2024-05-31T10:30:00+02:00"],
        ["20240531T083000"],
        ["2024-05-31T08:30:00.000000999"],
        [datetime(2024, 5, 31, 8, 30)],  # noqa: DTZ001 naive is what is tested
        [datetime(2024, 5, 31, 8, 30, tzinfo=UTC)],
        [datetime(2024, 5, 31, 4, 30, tzinfo=timezone(timedelta(hours=-4)))],
    ],
)
def test_times_are_utc(values: list[Any]) -> None:
    times, unreadable = read_times(column(values))
    assert times.tolist() == [MOMENT.item()]
    assert not unreadable.any()


def test_times_of_mixed_forms_are_read_one_by_one() -> None:
    values = ["2024-05-31T10:30+02:00", "2024-05-31T08:30", "yesterday", None, "31.05.2024"]
    times, unreadable = read_times(column(values))
    assert (times[:2] == MOMENT).all()
    assert np.isnat(times[2:]).all()
    assert unreadable.tolist() == [False, False, True, False, True]


def test_dates_begin_their_day() -> None:
    for values in (["2024-05-31"], [date(2024, 5, 31)]):
        assert read_times(column(values))[0][0] == np.datetime64("2024-05-31")


def test_times_before_the_calendar_are_unreadable() -> None:
    assert read_times(column(["0001-01-01T00:00+05:00", "x"]))[1].all()


@pytest.mark.parametrize(
    ("kind", "roles"),
    [
        (pa.string(), {"number", "time", "value"}),
        (pa.int32(), {"number", "value"}),
        (pa.bool_(), {"value"}),
        (pa.date32(), {"time"}),
        (pa.timestamp("ns"), {"time"}),
        (pa.list_(pa.int8()), set()),
        (pa.binary(), set()),
        (pa.dictionary(pa.int8(), pa.string()), {"number", "time", "value"}),
    ],
)
def test_types_that_fit_a_role(kind: pa.DataType, roles: set[str]) -> None:
    assert {role for role in ("number", "time", "value") if type_fits(kind, role)} == roles


def test_long_values_are_cut_for_people() -> None:
    shown = column(["x" * 500]).texts(np.array([0]))
    assert len(shown[0]) == 80
