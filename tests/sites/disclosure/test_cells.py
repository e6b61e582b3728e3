"""Small cells: after recoding and merging none is left, and no subtraction brings one back."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.models.bins import feature_edges, logit_edges
from fedrisk.models.metrics import binned_auroc, evaluation_sums
from fedrisk.models.summary import SiteCounts, bins_by_feature, summarise
from fedrisk.sites.disclosure.cells import (
    group_scores,
    hide_small_bins,
    hide_small_counts,
    merge_bins,
    recode,
    withheld,
)
from fedrisk.study import CategoryFeature, Study, parse_study
from fedrisk.study.records import total

STUDY = parse_study(
    {
        "name": "cells",
        "label": "ill",
        "positive": [1],
        "features": [
            {"name": "n", "kind": "number", "missing": "allow"},
            {"name": "m", "kind": "number"},
            {"name": "a", "kind": "category", "levels": ["x", "y", "z"], "missing": "allow"},
            {"name": "b", "kind": "category", "levels": ["u", "v"]},
            {"name": "c", "kind": "category", "levels": ["p", "q", "r", "s"]},
        ],
    }
)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, np.ndarray[Any, Any]]:
    """Skewed columns of up to 120 rows, so that small groups are common."""
    rows = draw(st.integers(0, 120))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    skew = draw(st.sampled_from([0.3, 1.0, 3.0]))

    def codes(low: int, high: int) -> np.ndarray[Any, Any]:
        weights = np.exp(-skew * np.arange(high - low))
        return random.choice(np.arange(low, high), rows, p=weights / weights.sum()).astype(np.int32)

    n = random.choice([0.0, 1.0, 2.5], rows, p=[0.9, 0.07, 0.03])
    n[random.random(rows) < draw(st.sampled_from([0.0, 0.02, 0.3, 0.97]))] = np.nan
    m = random.normal(size=rows) if draw(st.booleans()) else random.choice([1.0, 9.0], rows)
    return {"n": n, "m": m, "a": codes(-1, 3), "b": codes(0, 2), "c": codes(0, 4)}


def too_few(columns: dict[str, Any], least: int, pairs: int) -> list[int]:
    """Sizes of the groups that are too small, counted row by row."""
    told = {}
    alone: list[int] = []
    for feature in STUDY.features:
        values = columns[feature.name].tolist()
        if isinstance(feature, CategoryFeature):
            told[feature.name] = values
            continue
        if feature.missing == "allow":
            told[feature.name] = [value != value for value in values]
        present = [value for value in values if value == value]
        alone.append(len(present) - max(Counter(present).values(), default=0))
    single = [n for values in told.values() for n in Counter(values).values()]
    both = [
        n
        for one, other in combinations(told, 2)
        for n in Counter(zip(told[one], told[other], strict=True)).values()
    ]
    return (
        [n for n in alone if 0 < n < least]
        + [n for n in single if 0 < n < max(least, pairs)]
        + [n for n in both if 0 < n < pairs]
    )


def _same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (one == other) | ((one != one) & (other != other))


@settings(deadline=None, max_examples=100)
@given(tables(), st.integers(2, 12), st.integers(0, 12))
def test_after_recoding_no_group_is_small(columns: dict[str, Any], least: int, pairs: int) -> None:
    before = {name: values.copy() for name, values in columns.items()}
    recoded = recode(STUDY, columns, least, pairs)
    if len(columns["n"]) >= max(least, pairs):
        assert not too_few(dict(recoded.columns), least, pairs)
    same = {name: _same(recoded.columns[name], values) for name, values in before.items()}
    assert recoded.changed == sum(int((~equal).sum()) for equal in same.values())
    for name, values in before.items():
        np.testing.assert_array_equal(columns[name], values)  # the site's own rows stay


@settings(deadline=None, max_examples=40)
@given(tables())
def test_rows_without_small_groups_stay_as_they_are(columns: dict[str, Any]) -> None:
    assert recode(STUDY, columns, 1, 1).changed == 0
    once = recode(STUDY, columns, 5, 3)
    assert recode(STUDY, once.columns, 5, 3).changed == 0


def test_a_number_that_few_have_becomes_no_value_of_theirs() -> None:
    """Ten present values, all different: their mean stands for all, not one person's value."""
    columns = {
        "n": np.array([*range(100, 110), *[np.nan] * 40], np.float64),
        "m": np.arange(50.0),
        "a": np.zeros(50, np.int32),
        "b": np.zeros(50, np.int32),
        "c": np.zeros(50, np.int32),
    }
    recoded = recode(STUDY, columns, 10, 0).columns["n"]
    assert set(recoded[:10]) == {104.5}
    assert np.isnan(recode(STUDY, columns, 11, 0).columns["n"]).all()


# -- bins --------------------------------------------------------------------------------

counts = st.lists(st.integers(0, 9), min_size=1, max_size=60).map(lambda v: np.array(v, float))


@given(counts, st.integers(0, 15))
def test_merged_bins_hold_the_same_rows_or_are_withheld(held: np.ndarray[Any, Any], k: int) -> None:
    merged = merge_bins(held, k)
    assert merged.sum() == (held.sum() if held.sum() >= k else 0)
    assert not [n for n in merged if 0 < n < k]
    if k <= 1:
        np.testing.assert_array_equal(merged, held)


@given(counts, st.integers(2, 15), st.data())
def test_one_row_more_in_a_group_moves_no_other_group_s_edge_into_it(
    held: np.ndarray[Any, Any], k: int, data: st.DataObject
) -> None:
    """Cumulative counts at the ends of groups are those of the rows themselves."""
    merged = merge_bins(held, k)
    if not merged.any():
        return
    reached = set(np.cumsum(merged).tolist())
    assert reached - {0.0} <= set(np.cumsum(held).tolist())


def test_hidden_bins_sum_to_the_values_as_before(study: Study) -> None:
    random = np.random.default_rng(1)
    columns = {
        "age": random.uniform(20, 90, 300),
        "pulse": np.where(random.random(300) < 0.2, np.nan, random.normal(80, 9, 300)),
        "sex": random.integers(-1, 2, 300).astype(np.int32),
    }
    summary = summarise(study, columns, random.random(300) < 0.3)
    hidden = hide_small_bins(study, summary, 10)
    for place, (name, bins) in enumerate(bins_by_feature(study, hidden).items()):
        assert bins.sum() == summary.present[place]
        assert not [n for n in bins if 0 < n < 10]
        feature = study.numbers[place]
        assert len(bins) == len(feature_edges(feature)) + 1, name
    np.testing.assert_array_equal(hidden.sums, summary.sums)


# -- counts --------------------------------------------------------------------------------


@st.composite
def site_counts(draw: st.DrawFn) -> SiteCounts:
    def number(most: int = 60) -> int:
        return draw(st.integers(0, most))

    train, test, unlabelled, immature = (number() for _ in range(4))
    usable = train + test
    return SiteCounts(
        rows=total(train + test + unlabelled + immature),
        train=total(train),
        train_events=total(number(train)),
        test=total(test),
        test_events=total(number(test)),
        unlabelled=total(unlabelled),
        immature=total(immature),
        treated=total(number(usable)),
        implausible=np.array([number(usable), number(usable)], float),
    )


@given(site_counts(), st.integers(1, 20), st.booleans())
def test_no_small_count_is_shown_or_found_by_subtraction(
    given_counts: SiteCounts, least: int, test: bool
) -> None:
    shown = hide_small_counts(given_counts, least, test=test)
    usable = float(shown.train + shown.test)
    for name in ("unlabelled", "immature", "treated"):
        assert not 0 < float(getattr(shown, name)) < least
    parts = [shown.treated, *shown.implausible]
    assert not [part for part in parts if 0 < float(part) < least]
    if test:
        assert not [part for part in parts if 0 < usable - float(part) < least and part]
        assert float(shown.test) == float(given_counts.test)
    else:
        assert not shown.test
        assert not shown.test_events
        assert not any(parts)
    # The whole is its shown parts: what was hidden is in neither.
    assert float(shown.rows) == usable + float(shown.unlabelled + shown.immature)
    assert float(shown.train) == float(given_counts.train)


# -- scores --------------------------------------------------------------------------------

scores = st.lists(
    st.one_of(st.floats(-15, 15), st.sampled_from([0.0, 0.5, 12.0, -12.0, 40.0])), max_size=80
).map(lambda v: np.array(v, float))


outcomes = st.lists(st.booleans(), min_size=80, max_size=80).map(lambda v: np.array(v, bool))


@settings(deadline=None)
@given(scores, outcomes, st.integers(2, 12), st.integers(0, 7))
def test_each_grouped_score_is_that_of_many(
    logit: np.ndarray[Any, Any], drawn: np.ndarray[Any, Any], least: int, few: int
) -> None:
    events = drawn[: len(logit)]
    grouped = group_scores(logit, events, least, few)
    if len(logit) >= least:
        assert min(Counter(grouped.tolist()).values()) >= least
    else:
        assert len(set(grouped.tolist())) <= 1
    order = np.argsort(logit, kind="stable")
    assert (np.diff(grouped[order]) >= 0).all()  # ranks are kept, but for ties
    sums = evaluation_sums(grouped, events)
    held = sums.bin_rows[sums.bin_rows > 0]
    assert len(logit) < least or held.min() >= least
    assert sums.bin_rows.sum() == len(logit)
    if min(events.sum(), (~events).sum()) >= few:
        for counts in (sums.bin_events, sums.bin_rows - sums.bin_events):
            assert not [n for n in counts if 0 < n < few]


@settings(deadline=None)
@given(scores, outcomes, outcomes, st.integers(2, 12))
def test_merged_groups_are_made_of_those_that_rows_alone_make(
    logit: np.ndarray[Any, Any],
    one: np.ndarray[Any, Any],
    other: np.ndarray[Any, Any],
    least: int,
) -> None:
    """Whatever the outcomes, scores tell nothing more than the groups of rows do."""
    fine = group_scores(logit, one[: len(logit)], least, 0)
    np.testing.assert_array_equal(fine, group_scores(logit, other[: len(logit)], least, 0))
    merged = group_scores(logit, one[: len(logit)], least, 5)
    assert all(len(set(merged[fine == score])) == 1 for score in set(fine))


def joined(values: np.ndarray[Any, Any], risk: np.ndarray[Any, Any]) -> float:
    """What ties cost: differences of risk over pairs of rows that have one score."""
    return sum(
        abs(float(risk[one] - risk[other]))
        for one, other in combinations(range(len(values)), 2)
        if values[one] == values[other]
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(2, 4), st.integers(0, 2**32))
def test_no_other_merging_joins_risks_less_different(count: int, few: int, seed: int) -> None:
    """Against every way to cut up to nine groups."""
    random = np.random.default_rng(seed)
    centres = logit_edges()[np.sort(random.choice(3072, count, replace=False))] + 1 / 256
    logit = np.repeat(centres, random.integers(2, 7, count))
    events = random.random(len(logit)) < 0.4
    merged = group_scores(logit, events, 2, few)
    risk = 1 / (1 + np.exp(-logit))

    def fits(groups: np.ndarray[Any, Any]) -> bool:
        held = [(events[groups == g].sum(), (~events)[groups == g].sum()) for g in set(groups)]
        return not any(0 < n < few for pair in held for n in pair)

    costs = []
    for cuts in product([0, 1], repeat=count - 1):
        groups = np.cumsum([0, *cuts])[np.searchsorted(centres, logit)]
        if fits(groups):
            costs.append(joined(groups, risk))
    if costs:
        assert joined(merged, risk) == pytest.approx(min(costs), abs=1e-9)
    else:
        assert len(set(merged)) == 1


def test_a_group_s_score_tells_nothing_finer_than_a_bin() -> None:
    """A thousand zeros and one score of five: the mean would tell that it is one."""
    logit = np.array([*[0.0] * 1000, 5.0])
    events = np.arange(1001) % 2 == 0
    assert set(group_scores(logit, events, 10, 5).tolist()) == {
        float(logit_edges()[1536] + np.diff(logit_edges())[0] / 2)
    }


def test_ordinary_scores_keep_their_figures() -> None:
    random = np.random.default_rng(2)
    logit = random.normal(-2, 1, 5000)
    events = random.random(5000) < 1 / (1 + np.exp(-logit))
    exact = evaluation_sums(logit, events)
    told = evaluation_sums(group_scores(logit, events, 10, 5), events)
    for name in ("expected", "squared_error", "log_loss"):
        assert float(getattr(told, name)) == pytest.approx(float(getattr(exact, name)), rel=2e-3)
    auroc = [binned_auroc(sums.bin_events, sums.bin_rows) for sums in (exact, told)]
    assert auroc[1] == pytest.approx(auroc[0], abs=1e-3)


def test_merging_keeps_what_is_expected() -> None:
    """Of rare events: a wide group's mean log-odds would be a risk well below its mean risk."""
    random = np.random.default_rng(3)
    logit = random.normal(-4, 1.5, 1000)
    events = random.random(1000) < 1 / (1 + np.exp(-logit))
    told = evaluation_sums(group_scores(logit, events, 10, 20), events)
    exact = evaluation_sums(logit, events)
    assert len(np.flatnonzero(told.bin_rows)) < 12
    assert float(told.expected) == pytest.approx(float(exact.expected), rel=0.01)


def test_few_or_no_scores() -> None:
    assert group_scores(np.zeros(0), np.zeros(0, bool), 10, 5).shape == (0,)
    logit = np.array([0.3, 0.4])
    assert group_scores(logit, np.array([True, False]), 1, 5) is logit


def test_what_is_withheld_adds_nothing() -> None:
    sums = evaluation_sums(np.array([0.1, 0.2]), np.array([True, False]))
    assert all(not array.any() for array in withheld(sums).arrays().values())
    assert (withheld(sums) + sums).arrays().keys() == sums.arrays().keys()
