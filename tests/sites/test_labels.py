from typing import Any

import pyarrow as pa
import pytest

from fedrisk.sites.labels import read_label
from fedrisk.study.columns import Column


def column(values: list[Any]) -> Column:
    return Column(pa.chunked_array([pa.array(values)]))


@pytest.mark.parametrize("positive", [1, 1.0, "1", True, "true", "1.0"])
@pytest.mark.parametrize(
    "values",
    [[1, 0], [1.0, 0.0], ["1", "0"], ["1.0", "0.0"], [True, False], ["True", "False"], [1, 2]],
)
def test_one_is_one_in_every_type(positive: Any, values: list[Any]) -> None:
    events, not_finite = read_label(column(values), [positive])
    assert events.tolist() == [True, False]
    assert not not_finite.any()


def test_several_values_may_be_events() -> None:
    events, _ = read_label(column(["dead", "alive", "ICU", None, ""]), ["dead", "ICU"])
    assert events.tolist() == [True, False, True, False, False]


def test_text_is_compared_as_it_is() -> None:
    assert read_label(column(["Yes", "yes"]), ["yes"])[0].tolist() == [False, True]


@pytest.mark.parametrize("values", [["1", "nan", "inf"], [1.0, float("-inf"), float("inf")]])
def test_a_label_that_is_not_finite_is_found(values: list[Any]) -> None:
    assert read_label(column(values), [1])[1].tolist() == [False, True, True]
