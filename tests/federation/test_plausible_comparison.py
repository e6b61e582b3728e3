"""True answers pass, also of no rows, of groups' scores and of weighted rows; others do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.federation.plausible_comparison import faults_of_counts, faults_of_placements
from fedrisk.models.comparison import (
    ComparedRows,
    PooledScores,
    comparison_counts,
    placement_sums,
)
from fedrisk.study import Bands


def some_rows(seed: int, count: int, models: int = 2, *, untreated: bool = False) -> ComparedRows:
    random = np.random.default_rng(seed)
    logits = random.normal(-1, 1, (models, count))
    season = random.integers(0, 2, count)
    return ComparedRows(
        bands=Bands(),
        logits=logits,
        events=random.random(count) < 0.3,
        treated=random.random(count) < 0.3,
        people=random.integers(0, max(count // 3, 1), count),
        days=random.integers(0, max(count // 5, 1), count),
        groups=np.stack([np.ones(count, bool), season == 0, season == 1]),
        untreated=untreated,
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 60),
    models=st.integers(1, 3),
    untreated=st.booleans(),
)
def test_what_rows_give_is_believed(seed: int, count: int, models: int, untreated: bool) -> None:
    rows = some_rows(seed, count, models, untreated=untreated)
    counts = comparison_counts(rows)
    assert list(faults_of_counts(counts, models, untreated=untreated)) == []
    sums = placement_sums(
        rows, PooledScores.of(counts + comparison_counts(some_rows(1, 9, models)))
    )
    assert list(faults_of_placements(sums)) == []


def _with(name, at, value):
    def change(counts):
        array = getattr(counts, name).copy()
        array[at] = value
        return replace(counts, **{name: array})

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_with("rows", 0, 0.5), "holds no counts"),
        (_with("events", 1, -1), "holds no counts"),
        (_with("events", 1, 1000), "more events than rows"),
        (_with("rows", 2, 1000), "a group has more rows"),
        (_with("clusters", (0, 0), 1000), "more people or days"),
        (_with("band_treated", 1, 1000), "more treated rows"),
        (_with("churn", (0, 1, 1), 1000), "by risk level"),
        (_with("squared_weights", 0, 1.0), "weights that rows cannot have"),
        (_with("totals", (0, 0), 1e6), "squared_error is outside"),
        (_with("totals", (0, 2), -1.0), "expected is outside"),
        (_with("moments", (0, 0, 0, 0), -1.0), "moments"),
        (_with("moments", (0, 0, 0, 1), 1e9), "moments"),
        (_with("concordance_moments", (0, 0, 0), -1.0), "variances of AUROCs"),
        (_with("pairs", 0, 1e6), "pairs of more rows"),
        (_with("concordance", (0, 0), 1e6), "an AUROC outside"),
        (_with("bin_event_weights", (0, 0), 9.0), "more events than rows in a bin"),
        (_with("bin_logits", (0, 0), 9.0), "scores in a bin without rows"),
        (_with("bin_weights", (0, 0), 9.0), "bins do not sum"),
    ],
)
def test_what_no_rows_could_give_is_named(change, fault) -> None:
    counts = change(comparison_counts(some_rows(0, 200)))
    assert any(fault in found for found in faults_of_counts(counts, 2, untreated=False))


def test_placements_of_no_numbers_are_named() -> None:
    rows = some_rows(0, 200)
    sums = placement_sums(rows, PooledScores.of(comparison_counts(rows)))
    wrong = replace(sums, moments=-sums.moments)
    assert any("moments" in fault for fault in faults_of_placements(wrong))
    far = replace(sums, totals=sums.totals + 3)
    assert any("more than rows can" in fault for fault in faults_of_placements(far))
