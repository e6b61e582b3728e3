"""Placement values against every pair compared, and the clustered error against replications."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.models.comparison.clusters import clusterings
from fedrisk.models.comparison.concordance import Placement
from fedrisk.models.metrics import delong


def own(logits, events, people=None, weights=None):
    rows = np.arange(len(events))
    codes = clusterings(rows if people is None else people, rows)
    weights = np.ones(len(events)) if weights is None else weights
    return Placement.own_aurocs(np.atleast_2d(logits), events, weights, codes)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=40).filter(
        lambda rows: 2 <= sum(event for _, event in rows) <= len(rows) - 2
    )
)
def test_ties_and_all_the_auroc_is_that_of_every_pair(rows):
    scores = np.array([score for score, _ in rows], float)
    events = np.array([event for _, event in rows])
    _, aurocs, covariance = own(scores, events)
    auroc, error = delong(scores, events)
    assert aurocs[0] == pytest.approx(auroc, abs=1e-12)
    # DeLong divides each part by its own count less one, the clusters by all rows less one.
    m, n, rows_ = events.sum(), (~events).sum(), len(events)
    least, most = rows_ / (rows_ - 1) * (1 - 1 / min(m, n)), rows_ / (rows_ - 1)
    assert least * error**2 - 1e-12 <= covariance[0, 0] <= most * error**2 + 1e-12


def test_whole_weights_are_repeated_rows():
    rng = np.random.default_rng(1)
    scores, events = rng.normal(size=60), rng.random(60) < 0.3
    weights = rng.integers(1, 4, 60)
    _, weighted, _ = own(scores, events, weights=weights.astype(float))
    _, repeated, _ = own(np.repeat(scores, weights), np.repeat(events, weights))
    assert weighted[0] == pytest.approx(repeated[0])


def test_a_weight_is_so_many_rows_of_one_person():
    """Also for the error: rows of one person move the AUROC together."""
    rng = np.random.default_rng(4)
    scores, events = rng.normal(size=60), rng.random(60) < 0.3
    weights = rng.integers(1, 4, 60)
    weighted = own(scores, events, weights=weights.astype(float))[2]
    people = np.repeat(np.arange(60), weights)
    repeated = own(np.repeat(scores, weights), np.repeat(events, weights), people)[2]
    assert weighted[0, 0] == pytest.approx(repeated[0, 0])


@pytest.mark.parametrize(("cases", "controls"), [([0, 1], [3, 1]), ([3, 1], [1, 0])])
def test_one_row_of_an_outcome_has_an_auroc(cases, controls):
    placed = Placement.of(np.array(cases, float), np.array(controls, float))
    assert placed is not None
    wins = cases[1] * controls[0] + (cases[0] * controls[0] + cases[1] * controls[1]) / 2
    assert placed.auroc == wins / (sum(cases) * sum(controls))


def test_repeated_people_make_the_error_that_replications_have():
    rng = np.random.default_rng(2)
    people = np.repeat(np.arange(80), 10)
    aurocs, variances = [], []
    for _ in range(200):
        burden = rng.normal(size=80)[people]
        events = rng.random(800) < 1 / (1 + np.exp(1.5 - burden))
        scores = burden + rng.normal(0, 0.3, 80)[people]
        _, auroc, covariance = own(scores, events, people)
        aurocs.append(auroc[0])
        variances.append(covariance[0, 0])
    assert np.mean(variances) == pytest.approx(np.var(aurocs), rel=0.25)
    independent = own(scores, events)[2][0, 0]
    assert np.mean(variances) > 1.3 * independent


@pytest.mark.parametrize("events", [np.zeros(5, bool), np.ones(5, bool)])
def test_one_outcome_alone_has_no_auroc(events):
    pairs, aurocs, covariance = own(np.arange(5.0), events)
    assert (pairs, aurocs.tolist(), covariance.tolist()) == (0.0, [0.0], [[0.0]])


def test_what_rows_move_the_auroc_by_sums_to_zero():
    rng = np.random.default_rng(3)
    events, places = rng.random(200) < 0.2, rng.integers(0, 50, 200)
    placed = Placement.of(np.bincount(places, events), np.bincount(places, ~events))
    assert placed is not None
    assert placed.influence(places, events, np.ones(200)).sum() == pytest.approx(0, abs=1e-12)
