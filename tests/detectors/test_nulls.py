"""Nulls: the predictive t law, what strata share, and what a few blocks do not tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedrisk.detectors.nulls import (
    LEAST_SCALE,
    MOST_DEGREES,
    Null,
    Scale,
    fit_null,
    shared_scale,
)


def drawn(blocks, seed=0, scale=0.5):
    return np.exp(np.random.default_rng(seed).normal(-2, scale, blocks))


def test_without_other_strata_it_is_the_prediction_interval_of_a_normal_sample():
    distances = drawn(13)
    null, logs = fit_null(distances, 13, 1e-6, None), np.log(distances)
    t = (np.log(0.5) - logs.mean()) / (logs.std(ddof=1) * np.sqrt(1 + 1 / 13))
    assert null.p_value(0.5) == pytest.approx(stats.t(12).sf(t))


def test_too_few_blocks_tell_nothing():
    assert fit_null(drawn(5), 5, 1e-6, None) is None
    assert fit_null(drawn(20), 5, 1e-6, None) is None


def test_p_values_of_new_distances_are_uniform_whatever_the_number_of_blocks():
    p = []
    for seed in range(4000):
        *known, new = drawn(8, seed)
        p.append(fit_null(np.array(known), 7, 1e-6, None).p_value(new))
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_strata_of_one_spread_are_pooled():
    strata = [(drawn(13, seed), 13.0) for seed in range(20)]
    scale = shared_scale(strata, 1e-6)
    assert scale.variance == pytest.approx(0.25, rel=0.2)
    assert scale.degrees > 30


def test_strata_of_different_spreads_are_pooled_less():
    strata = [(drawn(13, seed, 0.3 + 0.1 * seed), 13.0) for seed in range(12)]
    assert shared_scale(strata, 1e-6).degrees < 15


@pytest.mark.parametrize("degrees", [5.0, 12.0])
def test_the_law_of_the_strata_is_recovered(degrees):
    """Variances drawn as Smyth's model says: s0^2 d0 / chi-square of d0."""
    rng = np.random.default_rng(3)
    variances = 0.25 * degrees / rng.chisquare(degrees, 2000)
    strata = [(np.exp(rng.normal(-2, np.sqrt(each), 13)), 13.0) for each in variances]
    scale = shared_scale(strata, 1e-12)
    assert scale.degrees == pytest.approx(degrees, rel=0.2)
    assert scale.variance == pytest.approx(0.25, rel=0.05)


def test_strata_of_three_blocks_share():
    assert shared_scale([(drawn(3, seed), 3.0) for seed in range(2)], 1e-6) is not None


def test_what_is_shared_moderates_an_odd_stratum():
    odd = drawn(13, scale=0.25)
    alone = fit_null(odd, 13, 1e-6, None)
    moderated = fit_null(odd, 13, 1e-6, Scale(1.0, 12.0))
    own = np.log(odd).var(ddof=1)
    assert moderated.scale**2 / (1 + 1 / 13) == pytest.approx((own + 1.0) / 2)
    assert moderated.degrees == 24 > alone.degrees


def test_few_strata_share_nothing():
    assert shared_scale([(drawn(13), 13.0)], 1e-6) is None
    assert shared_scale([(drawn(13), 13.0), (drawn(2), 2.0)], 1e-6) is None


def test_blocks_that_are_all_alike_promise_nothing_exact():
    null = fit_null(np.zeros(52), 52, 0.01, Scale(0.0, np.inf))
    assert null.scale >= LEAST_SCALE
    assert null.degrees == MOST_DEGREES
    assert null.typical == pytest.approx(0.01)
    assert null.p_value(0.0) == pytest.approx(0.5)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_larger_distance_is_never_likelier(one, other):
    null = Null(location=-2.0, scale=0.4, degrees=20.0, floor=0.01, blocks=13.0)
    small, large = sorted([one, other])
    assert 0 < null.p_value(large) <= null.p_value(small) <= 1


def test_groups_that_overlap_count_as_fewer():
    distances = drawn(49)
    assert (
        fit_null(distances, 49 / 4, 1e-6, None).degrees
        < fit_null(distances, 49, 1e-6, None).degrees
    )
