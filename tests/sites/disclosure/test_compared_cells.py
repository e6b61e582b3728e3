"""A comparison tells nothing of few rows, and what it tells stays right."""

from __future__ import annotations

import numpy as np
import pytest
from compared_rows import STUDY, site_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.models.comparison import compare_rows, comparison_counts, group_names
from fedrisk.models.comparison.rows import group_families
from fedrisk.sites.disclosure.compared_cells import group_compared_scores, hide_comparison

LEAST, OUTCOMES = 10, 5


def hidden(rows):
    grouped = group_compared_scores(rows, LEAST, OUTCOMES)
    return hide_comparison(STUDY, comparison_counts(grouped), LEAST, OUTCOMES)


def with_sizes(rng, rows, **sizes):
    """Rows with so many in each named group."""
    own = site_rows(rng, rows)
    names, groups = group_names(STUDY), own.groups.copy()
    for name, size in sizes.items():
        family = [g for g in names if g.startswith(name.split("__")[0] + ":")]
        place = names.index(name.replace("__", ":"))
        groups[[names.index(g) for g in family]] = False
        groups[place, :size] = True
        other = next(names.index(g) for g in family if g != names[place])
        groups[other, size:] = True
    return site_rows(np.random.default_rng(1), rows, groups=groups)


def test_an_open_policy_hides_nothing():
    counts = comparison_counts(site_rows(np.random.default_rng(1), 30))
    assert hide_comparison(STUDY, counts, 0, 0) is counts


def test_scores_are_of_groups_of_rows():
    rows = group_compared_scores(site_rows(np.random.default_rng(1), 800), LEAST, OUTCOMES)
    for logit in rows.logits:
        _, places = np.unique(logit, return_inverse=True)
        held, events = np.bincount(places), np.bincount(places, rows.events)
        assert held.min() >= LEAST
        assert not np.any((events > 0) & (events < OUTCOMES))
        assert not np.any((held - events > 0) & (held - events < OUTCOMES))


def test_judged_rows_are_grouped_among_themselves():
    rng = np.random.default_rng(2)
    treated = rng.random(800) < 0.5
    rows = site_rows(np.random.default_rng(1), 800, treated=treated, untreated=True)
    grouped = group_compared_scores(rows, LEAST, OUTCOMES)
    for logit in grouped.logits:
        assert np.unique(logit[~treated], return_counts=True)[1].min() >= LEAST


@pytest.mark.parametrize(("treated", "told"), [(LEAST - 1, 0), (LEAST, LEAST)])
def test_few_rows_that_are_not_judged_are_not_even_stood_for(treated, told):
    rows = site_rows(
        np.random.default_rng(8), 800, treated=np.arange(800) < treated, untreated=True
    )
    grouped = group_compared_scores(rows, LEAST, OUTCOMES)
    assert grouped.weights.sum() == pytest.approx(800 - treated + told)
    assert len(grouped.events) == 800 - treated + told


def test_a_small_group_is_left_out_and_its_counterpart_too():
    counts = hidden(with_sizes(np.random.default_rng(1), 600, sex__f=6))
    names = group_names(STUDY)
    for name in ("sex:f", "sex:m"):
        place = names.index(name)
        assert counts.rows[place] == 0
        assert not counts.moments[place].any()
        assert not counts.concordance[place].any()
    assert counts.rows[0] == 600


def test_large_groups_are_told_as_they_are():
    rows = site_rows(np.random.default_rng(3), 3000)
    grouped = group_compared_scores(rows, LEAST, OUTCOMES)
    plain, shown = comparison_counts(grouped), hidden(rows)
    assert np.array_equal(plain.totals, shown.totals)
    assert np.array_equal(plain.clusters, shown.clusters)


def test_many_rows_of_few_people_are_left_out():
    counts = hidden(site_rows(np.random.default_rng(4), 2000, people=8))
    assert not any(array.any() for array in counts.arrays().values())


@pytest.mark.parametrize("treated", [4, 996])
def test_few_treated_or_untreated_rows_are_not_counted(treated):
    low = np.full((2, 1000), -3.0) + np.linspace(0, 0.5, 1000)
    rows = site_rows(np.random.default_rng(5), 1000, logits=low, treated=np.arange(1000) < treated)
    counts = hidden(rows)
    assert counts.band_treated.tolist() == [0.0 if treated == 4 else 1000.0, 0.0, 0.0]


def test_few_events_among_treated_rows_are_not_counted():
    rng = np.random.default_rng(9)
    treated = rng.random(1000) < 0.3
    for held, told in ((OUTCOMES - 1, 0), (OUTCOMES, OUTCOMES)):
        events = rng.random(1000) < 0.3
        events[treated] = np.arange(treated.sum()) < held
        rows = site_rows(np.random.default_rng(9), 1000, treated=treated, events=events)
        assert hidden(rows).treated_events == told


def test_few_changes_of_band_are_rounded():
    counts = hidden(site_rows(np.random.default_rng(6), 700))
    assert not np.any(counts.churn % LEAST)
    assert counts.churn[1].sum() == pytest.approx(700, abs=9 * LEAST / 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(20, 400), st.floats(0, 0.3))
def test_no_small_group_is_shown_or_left_by_subtraction(seed, size, rare):
    rng = np.random.default_rng(seed)
    own = site_rows(rng, size)
    groups = own.groups.copy()
    groups[5] = rng.random(size) < rare
    groups[6] = ~groups[5]
    counts = hidden(site_rows(np.random.default_rng(seed), size, groups=groups))
    names = group_names(STUDY)
    parts = [counts.rows, counts.events, counts.rows - counts.events]
    for part, least in zip(parts, (LEAST, OUTCOMES, OUTCOMES), strict=True):
        assert not np.any((part > 0) & (part < least))
        for family in group_families(STUDY).values():
            rest = part[0] - part[[names.index(name) for name in family]].sum()
            assert not 0 < rest < least


def test_hidden_comparisons_stay_near_the_plain_ones():
    rng = np.random.default_rng(7)
    sites = {name: site_rows(rng, 1500, noise=(0.9, 0.4)) for name in ("a", "b", "c")}
    grouped = {name: group_compared_scores(rows, LEAST, OUTCOMES) for name, rows in sites.items()}
    plain, told = (compare_rows(STUDY, ("one", "two"), each) for each in (sites, grouped))
    one, other = plain.differences["two"], told.differences["two"]
    for figure in ("auroc", "brier", "log_loss"):
        before, after = getattr(one, figure), getattr(other, figure)
        assert abs(after.value - before.value) < before.se
        assert after.se == pytest.approx(before.se, rel=0.25)
