from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedrisk.models.bins import (
    MANY,
    bin_places,
    count,
    feature_centre,
    feature_edges,
    logit_edges,
    quantile,
)
from fedrisk.study import NumberFeature

UNBOUNDED = NumberFeature(name="x")
BOUNDED = NumberFeature(name="x", minimum=-50, maximum=400)
PLAUSIBLE = NumberFeature(name="x", minimum=-50, maximum=400, plausible=(0, 100))
ONE_SIDED = NumberFeature(name="x", minimum=0)

samples = arrays(np.float64, st.integers(1, 60), elements=st.floats(-50, 400))


def gap(values, edges, q):
    """The bins' width around the quantile, and the sample's values that a quantile lies between."""
    lower, upper = (np.quantile(values, q, method=m) for m in ("lower", "higher"))
    places = np.searchsorted(edges, [lower, upper], side="right")
    outer = np.concatenate([edges[:1], edges, edges[-1:]])
    return outer[places[0]], outer[places[1] + 1]


@given(samples, st.sampled_from([UNBOUNDED, BOUNDED, PLAUSIBLE, ONE_SIDED]), st.floats(0, 1))
def test_a_quantile_lies_in_the_bin_of_the_samples_quantile(values, feature, q):
    edges = feature_edges(feature)
    low, high = gap(values, edges, q)
    slack = 1e-9 * (1 + abs(low) + abs(high))
    found = quantile(count(values, edges), edges, q)
    # Ranks on a bin's border may fall to either side: one value more on each side.
    around = np.sort(values)[[max(0, int(q * len(values)) - 1)]]
    low = min(low, gap(around, edges, 0.5)[0])
    assert low - slack <= found <= high + slack


@pytest.mark.parametrize("feature", [BOUNDED, PLAUSIBLE, UNBOUNDED])
def test_the_median_of_a_large_sample_is_within_a_bin(feature):
    rng = np.random.default_rng(0)
    values = rng.normal(60, 12, 5001)
    edges = feature_edges(feature)
    place = np.searchsorted(edges, np.median(values))
    width = edges[place] - edges[place - 1]
    assert abs(quantile(count(values, edges), edges, 0.5) - np.median(values)) <= width


@given(samples, st.integers(0, 60), st.sampled_from([UNBOUNDED, BOUNDED, PLAUSIBLE, ONE_SIDED]))
def test_counts_add_up_and_hold_every_value(values, cut, feature):
    edges = feature_edges(feature)
    counts = count(values, edges)
    assert counts.shape == (len(edges) + 1,)
    assert counts.sum() == len(values)
    np.testing.assert_array_equal(counts, count(values[:cut], edges) + count(values[cut:], edges))


def test_values_outside_and_missing_ones():
    edges = feature_edges(PLAUSIBLE)
    counts = count(np.array([-20.0, 0.0, 100.0, 300.0, np.nan]), edges)
    assert counts[0] == 1
    assert counts[1] == 1
    assert counts[-1] == 2
    assert counts.sum() == 4


def test_quantiles_of_open_bins_answer_the_edge():
    edges = feature_edges(PLAUSIBLE)
    assert quantile(count(np.full(3, -20.0), edges), edges, 0.5) == 0.0
    assert quantile(count(np.full(3, 300.0), edges), edges, 0.5) == 100.0
    assert quantile(np.zeros(len(edges) + 1), edges, 0.5) == 0.0


def test_the_smallest_quantile_skips_empty_bins():
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    assert quantile(np.array([0.0, 0.0, 4.0, 0.0, 0.0]), edges, 0.0) == 1.0


@pytest.mark.parametrize("feature", [UNBOUNDED, BOUNDED, PLAUSIBLE, ONE_SIDED])
def test_edges_ascend_and_cannot_be_changed(feature):
    edges = feature_edges(feature)
    assert (np.diff(edges) > 0).all()
    with pytest.raises(ValueError, match="read-only"):
        edges[0] = 1.0


def test_centres_are_known_from_the_study_alone():
    assert feature_centre(PLAUSIBLE) == 50
    assert feature_centre(BOUNDED) == 175
    assert feature_centre(UNBOUNDED) == feature_centre(ONE_SIDED) == 0


def test_score_bins_are_symmetric():
    np.testing.assert_array_equal(logit_edges(), -logit_edges()[::-1])


GRIDS = {
    "bounds": feature_edges(NumberFeature(name="a", minimum=0, maximum=120)),
    "awkward bounds": feature_edges(NumberFeature(name="a", minimum=-0.3, maximum=0.7)),
    "tiny bounds": feature_edges(NumberFeature(name="a", minimum=1e9, maximum=1e9 + 1e-3)),
    "octaves": feature_edges(NumberFeature(name="a")),
    "scores": np.linspace(-12, 12, 193),
}


@pytest.mark.parametrize("edges", GRIDS.values(), ids=GRIDS)
def test_places_are_those_of_a_search(edges: np.ndarray) -> None:
    random = np.random.default_rng(5)
    span = edges[-1] - edges[0]
    values = random.uniform(edges[0] - span / 4, edges[-1] + span / 4, MANY + 5000)
    near = [edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)]
    values = np.concatenate([values, *near, [np.inf, -np.inf, 1e300, -1e300]])
    assert np.array_equal(bin_places(values, edges), np.searchsorted(edges, values, side="right"))
