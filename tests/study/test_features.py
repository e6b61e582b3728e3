from __future__ import annotations

import pytest

from fedrisk.study import CategoryFeature, NumberFeature


@pytest.mark.parametrize(
    ("bounds", "rule"),
    [
        ({"minimum": 0, "maximum": 120, "unit": "year"}, "must be between 0 and 120 year"),
        ({"minimum": 0.5}, "must be at least 0.5"),
        ({"maximum": -3, "unit": "°C"}, "must be at most -3 °C"),
        ({}, "must be a number"),
    ],
)
def test_bounds_in_words(bounds, rule):
    assert NumberFeature(name="x", **bounds).bounds_text == rule


def test_levels_in_words():
    feature = CategoryFeature(name="x", kind="category", levels=("a", "b"))
    assert feature.bounds_text == "must be one of a, b"


def test_a_plausible_range_may_be_the_hard_one():
    feature = NumberFeature(name="x", minimum=0, maximum=9, plausible=(0, 9))
    assert feature.plausible == (0, 9)


def test_a_plausible_range_needs_no_hard_one():
    assert NumberFeature(name="x", plausible=(-1, 1)).minimum is None


@pytest.mark.parametrize(
    "bounds", [{"minimum": -1e101}, {"maximum": 1e308}, {"plausible": (-1e200, 0)}]
)
def test_a_bound_whose_square_is_no_number_is_refused(bounds):
    with pytest.raises(ValueError, match=r"larger than 1e\+100 in size"):
        NumberFeature(name="x", **bounds)


def test_without_a_bound_there_is_a_limit_that_has_its_own_words():
    feature = NumberFeature(name="x", minimum=0)
    assert feature.limits == (0, 1e100)
    assert feature.outside_text(1e101) == "must not be larger than 1e+100 in size"
    assert feature.outside_text(-1e101) == "must be at least 0"
    assert feature.outside_text(float("inf")) == "must be at least 0"
