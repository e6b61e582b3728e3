"""Shrunken figures are nearer to the truth, and never leave the range of the groups' own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.retraining.shrinkage import Measured, shrink


def test_no_groups_give_nothing():
    assert shrink({}, 0.1) == {}


def test_one_group_stays_as_it_is():
    told = shrink({"a": Measured(0.3, 0.1, 50.0)}, 0.1)["a"]
    assert told.value == pytest.approx(0.3)
    assert told.sd == pytest.approx(0.1, rel=0.2)


def test_few_events_borrow_more():
    told = shrink({"small": Measured(-1.0, 0.5, 10.0), "large": Measured(0.0, 0.02, 5000.0)}, 0.1)
    assert abs(told["small"].value) < 0.2
    assert told["large"].value == pytest.approx(0.0, abs=0.01)


def test_groups_that_surely_differ_stay_apart():
    told = shrink({"a": Measured(-0.5, 0.01, 5000.0), "b": Measured(0.5, 0.01, 5000.0)}, 0.25)
    assert told["a"].value == pytest.approx(-0.5, abs=0.02)
    assert told["b"].value == pytest.approx(0.5, abs=0.02)


def test_a_variance_of_few_events_is_not_believed():
    tight = {"lucky": Measured(0.8, 1e-6, 2.0)} | {
        f"site-{k}": Measured(0.0, 0.1, 100.0) for k in range(6)
    }
    assert abs(shrink(tight, 0.05)["lucky"].value) < 0.2


@pytest.mark.parametrize("tau", [0.0, 0.05])
def test_shrunken_figures_are_nearer_to_the_truth(tau):
    rng = np.random.default_rng(4)
    own_error = shrunken_error = 0.0
    for _ in range(200):
        truth = rng.normal(0.02, tau, 8)
        events = rng.integers(8, 120, 8).astype(float)
        se = 0.6 / np.sqrt(events)
        seen = rng.normal(truth, se)
        groups = {
            str(k): Measured(*each) for k, each in enumerate(zip(seen, se, events, strict=True))
        }
        told = np.array([each.value for each in shrink(groups, 0.05).values()])
        own_error += float(np.sum((seen - truth) ** 2))
        shrunken_error += float(np.sum((told - truth) ** 2))
    assert shrunken_error < 0.6 * own_error


def test_intervals_cover():
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(300):
        truth = rng.normal(0.0, 0.05 * abs(rng.normal()), 6)
        events = rng.integers(10, 200, 6).astype(float)
        se = 0.6 / np.sqrt(events)
        seen = rng.normal(truth, se)
        groups = {
            str(k): Measured(*each) for k, each in enumerate(zip(seen, se, events, strict=True))
        }
        told = shrink(groups, 0.05).values()
        covered += [abs(t.value - x) < 1.96 * t.sd for t, x in zip(told, truth, strict=True)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@given(
    st.lists(
        st.tuples(st.floats(-1, 1), st.floats(1e-4, 1), st.integers(1, 1000)),
        min_size=1,
        max_size=12,
    )
)
def test_no_figure_leaves_the_range_of_the_groups(measured):
    groups = {str(k): Measured(v, s, float(e)) for k, (v, s, e) in enumerate(measured)}
    values = [each[0] for each in measured]
    for told in shrink(groups, 0.1).values():
        assert min(values) - 1e-9 <= told.value <= max(values) + 1e-9
        assert np.isfinite(told.sd)
        assert told.sd > 0
