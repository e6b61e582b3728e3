"""Distances of counts equal those of an independent definition, in any number of dimensions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from fedrisk.detectors import DETECTORS, CountDetector
from fedrisk.detectors.bin_centres import bin_centres
from fedrisk.models.bins import feature_edges
from fedrisk.profiles.counting import profile_columns
from fedrisk.study import NumberFeature, parse_study

COUNTS = st.lists(st.integers(0, 500), min_size=6, max_size=6).filter(lambda n: sum(n) >= 20)
ON_COUNTS = {
    name: detector
    for name, detector in DETECTORS.items()
    if isinstance(detector, CountDetector) and detector.one_cell
}


def between(name, one, other):
    return DETECTORS[name].distances(np.array(one, float), np.array(other, float))


def with_noise(name, one, other):
    arrays = np.array(one, float), np.array(other, float)
    return DETECTORS[name].distances(*arrays) + DETECTORS[name].noise(*arrays)


@given(COUNTS, COUNTS)
def test_wasserstein_is_that_of_the_rows(one, other):
    rows, spread = (
        np.repeat(np.arange(6.0), one),
        np.sqrt(np.var(np.repeat(range(6), one)) + 1 / 12),
    )
    expected = stats.wasserstein_distance(rows, np.repeat(np.arange(6.0), other)) / spread
    assert between("wasserstein", one, other) == pytest.approx(expected, abs=1e-9)


@given(COUNTS, COUNTS)
def test_kolmogorov_smirnov_is_that_of_the_rows(one, other):
    expected = stats.ks_2samp(np.repeat(range(6), one), np.repeat(range(6), other)).statistic
    assert between("kolmogorov_smirnov", one, other) == pytest.approx(expected, abs=1e-9)


@given(COUNTS, COUNTS)
def test_jensen_shannon_with_its_noise_is_the_divergence(one, other):
    expected = jensenshannon(one, other, base=2) ** 2
    assert with_noise("jensen_shannon", one, other) == pytest.approx(expected, abs=1e-9)


@given(COUNTS)
def test_chi_square_is_the_statistic_per_row_where_both_have_as_many(one):
    other = one[::-1]
    used = (np.array(one) + other) > 0
    table = np.array([one, other])[:, used]
    statistic = stats.chi2_contingency(table, correction=False)[0] if used.sum() > 1 else 0.0
    # Of two samples of n rows each, chi-square is n / 2 times the squared distance.
    expected = np.sqrt(statistic * 2 / sum(one))
    assert between("chi_square", one, other) == pytest.approx(expected, abs=1e-9)


def test_psi_is_the_sum_over_tenths_of_the_reference():
    reference, alternating = np.full(20, 5000.0), np.tile([4000.0, 6000.0], 10)
    assert with_noise("psi", reference, alternating) == pytest.approx(0, abs=1e-9)
    moved = np.concatenate([np.full(10, 4000.0), np.full(10, 6000.0)])
    expected = 5 * ((0.08 - 0.1) * np.log(0.8) + (0.12 - 0.1) * np.log(1.2))
    assert with_noise("psi", reference, moved) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["psi", "jensen_shannon"])
def test_noise_of_independent_rows_is_taken_off(name):
    random = np.random.default_rng(0)
    shares = np.full(10, 0.1)
    pairs = [(random.multinomial(800, shares), random.multinomial(300, shares)) for _ in range(400)]
    found = np.array([between(name, *pair) for pair in pairs])
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))


@pytest.mark.parametrize("name", ON_COUNTS)
def test_many_at_once_are_as_one_by_one(name):
    random = np.random.default_rng(1)
    cells = 2 if name in ("missingness", "range_violations") else 12
    one, other = random.integers(0, 100, (2, 3, 4, cells)).astype(float) + 10
    together = DETECTORS[name].distances(one, other)
    single = [DETECTORS[name].distances(one[i, j], other[i, j]) for i in range(3) for j in range(4)]
    assert np.allclose(together.ravel(), single)


@pytest.mark.parametrize("name", ON_COUNTS)
def test_the_number_of_rows_alone_is_no_distance(name):
    cells = np.array([3000.0, 1000.0])
    assert abs(with_noise(name, cells, 7 * cells)) < 1e-3


@pytest.mark.parametrize("factor", [0.001, 1.8, 1000.0])
def test_wasserstein_knows_no_unit(factor):
    """Bins follow the bounds, so a change of unit that moves these moves no row to another bin."""
    celsius = NumberFeature(name="t", minimum=-50, maximum=60)
    other = NumberFeature(name="t", minimum=-50 * factor, maximum=60 * factor)
    values = np.random.default_rng(0).normal(20, 8, 500)
    places = [
        np.searchsorted(feature_edges(f), values * k, side="right")
        for f, k in ((celsius, 1.0), (other, factor))
    ]
    assert np.mean(places[0] == places[1]) > 0.99


def test_bins_without_bounds_lie_where_their_edges_say():
    edges = feature_edges(NumberFeature(name="x"))
    centres = bin_centres(len(edges) + 1)
    assert np.all(np.diff(centres) > 0)
    assert np.all((centres[1:-1] > edges[:-1]) & (centres[1:-1] < edges[1:]))


def test_values_that_are_missing_and_values_beyond_bounds_are_told_apart():
    study = parse_study(
        {
            "name": "s",
            "label": "y",
            "positive": [1],
            "features": [{"name": "x", "kind": "number", "minimum": 0, "maximum": 9}],
        }
    )
    whole = profile_columns(study, {"x": np.full(100, 5.0)})
    gone = profile_columns(study, {"x": np.where(np.arange(100) < 30, np.nan, 5.0)})
    beyond = replace(gone, missing={"x": 0.0}, outside={"x": 30.0})
    found = {
        name: [DETECTORS[name].distance(whole, each, "x") for each in (gone, beyond)]
        for name in ("missingness", "range_violations")
    }
    assert found == {"missingness": [0.3, 0.0], "range_violations": [0.0, 0.3]}
