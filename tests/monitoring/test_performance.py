"""Figures of matured rows are those that libraries give of the rows themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import sqrt

import numpy as np
import pytest
from detectors.score_worlds import counted, draw
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fedrisk.detectors.score_bins import bin_logits, bin_risks
from fedrisk.models.logistic import expit
from fedrisk.models.metrics import delong
from fedrisk.monitoring.outcomes import Outcomes
from fedrisk.monitoring.performance import Performance, performance

START = datetime(2025, 1, 6, tzinfo=UTC)


def outcomes(rows, events, week=0) -> Outcomes:
    start = START + timedelta(weeks=week)
    profile = counted(np.zeros(1), np.zeros(1))
    return Outcomes("a", start, start + timedelta(weeks=1), "DJF", rows, events, profile)


@pytest.fixture(scope="module")
def profiles():
    """Two windows whose outcomes follow scores less steeply than they should."""
    return [counted(*draw(3000, seed, slope=0.7, shift=0.2)) for seed in (1, 2)]


@pytest.fixture(scope="module")
def found(profiles) -> Performance:
    return performance([outcomes(p.labelled, p.events, week) for week, p in enumerate(profiles)])


@pytest.fixture(scope="module")
def rows(profiles):
    """Every row of both windows: its score, as its bin tells it, and its outcome."""
    labelled = sum(p.labelled for p in profiles).astype(int)
    events = sum(p.events for p in profiles).astype(int)
    scores = np.repeat(bin_logits(), labelled)
    outcome = np.concatenate([np.arange(n) < hit for n, hit in zip(labelled, events, strict=True)])
    return scores, outcome


def test_rows_and_events_of_windows_add_up(found, rows):
    scores, outcome = rows
    assert (found.rows, found.observed) == (len(scores), outcome.sum())
    assert found.expected == pytest.approx(expit(scores).sum())
    assert found.ratio == pytest.approx(outcome.sum() / expit(scores).sum())


def test_the_calibration_slope_is_that_of_a_logistic_regression(found, rows):
    scores, outcome = rows
    line = LogisticRegression(C=np.inf, tol=1e-10).fit(scores[:, None], outcome)
    assert found.slope == pytest.approx(line.coef_[0, 0], rel=1e-4)
    risk = line.predict_proba(scores[:, None])[:, 1]
    design = np.stack([np.ones_like(scores), scores])
    covariance = np.linalg.inv((design * risk * (1 - risk)) @ design.T)
    assert found.slope_error == pytest.approx(sqrt(covariance[1, 1]), rel=1e-3)


def test_the_auroc_is_delongs_and_falls_short_of_what_scores_promise(found, rows):
    scores, outcome = rows
    auroc, error = delong(scores, outcome)
    assert (found.auroc, found.auroc_error) == pytest.approx((auroc, error), rel=1e-3)
    twice, risk = np.tile(scores, 2), expit(scores)
    promised = roc_auc_score(
        np.repeat([1, 0], len(scores)), twice, sample_weight=np.concatenate([risk, 1 - risk])
    )
    assert found.promised_auroc == pytest.approx(promised)
    assert found.auroc_short == pytest.approx(promised - auroc)
    assert found.auroc_short > 0.02


def test_limits_of_the_ratio_hold_it_as_often_as_they_say():
    random, place = np.random.default_rng(1), 72
    rows = np.zeros(194)
    rows[place] = 2000.0
    held = []
    for _ in range(1000):
        events = np.zeros(194)
        events[place] = random.poisson(1.3 * 2000 * bin_risks()[place])
        low, high = performance([outcomes(rows, events)]).ratio_limits
        held.append(low <= 1.3 <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_nothing_is_known_of_no_rows():
    found = performance([])
    assert (found.rows, found.observed, found.expected) == (0, 0, 0)
    assert (found.ratio, found.ratio_limits, found.slope, found.auroc) == (None,) * 4
    assert (found.slope_error, found.auroc_error, found.auroc_short) == (None,) * 3


def test_without_an_event_the_ratio_has_no_limits():
    rows = np.full(194, 10.0)
    found = performance([outcomes(rows, np.zeros(194))])
    assert found.ratio == 0
    assert (found.ratio_limits, found.auroc, found.auroc_short) == (None, None, None)
