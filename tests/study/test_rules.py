from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.study import CategoryFeature, NumberFeature
from fedrisk.study.columns import Column
from fedrisk.study.rules import Checked, absent_feature, check_feature, wrong_feature_type
from fedrisk.study.values import LevelReader, number_or_text

TEXTS = ["", "NA", " NA ", "na", "1", "1.0", "-1", "+5", ".5", "5.", "1e2", "1e999", "inf", "nan"]
TEXTS += ["-Infinity", "nan(1)", "0x1", "1_0", "1,5", " 7 ", "true", "True", "x", " x", "X", "121"]
TEXTS += ["1e100", "-1e101", "1e308", "--1", "\uff11", "\u00a07", "\t7", "\x1f7"]
CLASS = CategoryFeature(name="class", kind="category", levels=("1", "true", "x"), missing="allow")
AGE = NumberFeature(name="age", unit="year", minimum=0, maximum=120)


def rules_broken(checked: Checked, row: int) -> list[str]:
    return [rule for rule, wrong in checked.faults if wrong[row]]


def rule_of_number(feature: NumberFeature, text: str) -> tuple[float, list[str]]:
    """The value and the rules it breaks, one text at a time."""
    value = number_or_text(text)
    if value is None:
        return math.nan, ["must not be missing"] if feature.missing == "reject" else []
    if isinstance(value, str):
        return math.nan, ["must be a number"]
    if not math.isfinite(value):
        return math.nan, ["must be finite"]
    low, high = feature.minimum, feature.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        return math.nan, [feature.bounds_text]
    if abs(value) > 1e100:
        return math.nan, ["must not be larger than 1e+100 in size"]
    return value, []


kinds = st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
features = st.builds(
    lambda low, high, missing: NumberFeature(name="x", minimum=low, maximum=high, missing=missing),
    st.sampled_from([None, -1, 0, 5]),
    st.sampled_from([None, 6, 100]),
    st.sampled_from(["allow", "reject"]),
)


@settings(deadline=None)  # the first call imports Arrow
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8), kinds, features)
def test_a_column_of_numbers_is_read_as_each_of_its_values(
    texts: list[str], kind: pa.DataType, feature: NumberFeature
) -> None:
    checked = check_feature(feature, Column(pa.array(texts).cast(kind)))
    expected = [rule_of_number(feature, text) for text in texts]
    np.testing.assert_array_equal(checked.values, [value for value, _ in expected])
    assert [rules_broken(checked, row) for row in range(len(texts))] == [r for _, r in expected]


@settings(deadline=None)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8), kinds)
def test_a_column_of_levels_is_read_as_each_of_its_values(
    texts: list[str], kind: pa.DataType
) -> None:
    checked = check_feature(CLASS, Column(pa.chunked_array([pa.array(texts).cast(kind)])))
    codes = [LevelReader(CLASS.levels).code(text) for text in texts]
    assert checked.values.tolist() == [max(code, -1) for code in codes]
    unknown = [[CLASS.bounds_text] if code == LevelReader.UNKNOWN else [] for code in codes]
    assert [rules_broken(checked, row) for row in range(len(texts))] == unknown


def test_chunks_with_other_dictionaries_are_one_column() -> None:
    chunks = [pa.array(["x", "1"]).dictionary_encode(), pa.array(["1", "x"]).dictionary_encode()]
    checked = check_feature(CLASS, Column(pa.chunked_array(chunks)))
    assert checked.values.tolist() == [2, 0, 0, 2]


def test_a_column_without_faults_has_none() -> None:
    assert check_feature(AGE, Column(pa.array([0.0, 120.0]))).faults == []


def test_the_callers_array_stays_as_it_is() -> None:
    array = pa.array([500.0, 50.0])
    assert np.isnan(check_feature(AGE, Column(array)).values[0])
    assert array.to_pylist() == [500.0, 50.0]


@pytest.mark.parametrize(
    ("feature", "kind", "rule"),
    [
        (AGE, pa.float32(), ""),
        (AGE, pa.bool_(), "must be a number; the file has it as bool"),
        (CLASS, pa.bool_(), ""),
        (CLASS, pa.date32(), "must be one of 1, true, x; the file has it as date32[day]"),
    ],
)
def test_types_that_do_not_fit_are_told(
    feature: NumberFeature | CategoryFeature, kind: pa.DataType, rule: str
) -> None:
    assert wrong_feature_type(feature, kind) == rule


def test_a_feature_that_was_not_read_is_missing_in_every_row() -> None:
    assert np.isnan(absent_feature(AGE, 2)).tolist() == [True, True]
    assert absent_feature(CLASS, 2).tolist() == [-1, -1]
