"""The second question: what a site is told of all sites, and what it checks before it answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compared_rows import STUDY, site_rows

from fedrisk.errors import EgressError
from fedrisk.models.comparison import (
    PlacementSums,
    PooledScores,
    comparison_counts,
    comparison_dimensions,
    placement_sums,
)


@pytest.fixture(scope="module")
def rows():
    return site_rows(np.random.default_rng(1), 600)


@pytest.fixture(scope="module")
def counts(rows):
    return comparison_counts(rows)


def test_the_table_of_a_question_brings_the_scores_back(counts):
    pooled = PooledScores.of(counts)
    read = PooledScores.from_array(pooled.array())
    assert np.array_equal(read.cases, pooled.cases)
    assert np.array_equal(read.controls, pooled.controls)
    assert np.array_equal(read.lines, pooled.lines)


@pytest.mark.parametrize("spoil", ["shape", "nan", "negative"])
def test_another_table_is_refused(counts, spoil):
    array = PooledScores.of(counts).array()
    if spoil == "shape":
        array = array[:, 1:]
    elif spoil == "nan":
        array[0, 0] = np.nan
    else:
        array[0, 5] = -1
    with pytest.raises(EgressError, match="scores of all sites"):
        PooledScores.from_array(array)


def test_scores_of_all_sites_hold_each_sites_own(counts):
    other = comparison_counts(site_rows(np.random.default_rng(2), 300))
    pooled = PooledScores.of(counts + other)
    assert pooled.hold(counts)
    assert pooled.hold(other)


def test_invented_scores_that_single_rows_out_are_seen(counts):
    pooled = PooledScores.of(counts)
    place = int(np.argmax(counts.bin_event_weights[0]))
    cases = np.zeros_like(pooled.cases)
    cases[:, place] = 1000.0
    assert not replace(pooled, cases=cases).hold(counts)
    assert not replace(pooled, controls=cases).hold(counts)


def test_both_records_have_their_declared_shape(rows, counts):
    dimensions = comparison_dimensions(STUDY, len(rows.logits))
    counts.check(dimensions)
    sums = placement_sums(rows, PooledScores.of(counts))
    sums.check(dimensions)
    assert PlacementSums.from_arrays(sums.arrays(), dimensions).totals.shape == (6,)


@pytest.mark.parametrize("models", [1, 2, 3])
def test_dimensions_are_those_of_what_is_sent(models):
    rows = site_rows(np.random.default_rng(1), 200, noise=(0.5,) * models)
    counts, dimensions = comparison_counts(rows), comparison_dimensions(STUDY, models)
    sums = placement_sums(rows, PooledScores.of(counts))
    for record in (counts, sums):
        shapes = {name: array.shape for name, array in record.arrays().items()}
        assert shapes == type(record).shapes(dimensions)


def test_without_events_the_line_that_is_told_is_the_scores_own():
    rows = site_rows(np.random.default_rng(1), 50, events=np.zeros(50, bool))
    assert PooledScores.of(comparison_counts(rows)).lines.tolist() == [[0.0, 1.0]] * 2


def test_over_all_rows_the_sums_are_zero(rows, counts):
    sums = placement_sums(rows, PooledScores.of(counts))
    assert sums.totals[[0, 3]] == pytest.approx([0, 0], abs=1e-10)
    assert sums.totals[[1, 2, 4, 5]] == pytest.approx([0] * 4, abs=0.5)  # up to the bins' width
