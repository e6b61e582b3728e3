"""Measured performance: equal to what rows give, intervals that hold what they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from fedrisk.detectors.performance_measured import (
    MeasuredPerformance,
    dispersion_of,
    measure,
    measure_by_site,
)
from fedrisk.errors import StudyError
from fedrisk.models.logistic import expit
from fedrisk.profiles.profile import Profile, score_edges
from fedrisk.profiles.site_window import SiteWindow


def counted(logits, events) -> Profile:
    """A profile of labelled scores, by the bins that sites count in."""
    places = np.searchsorted(score_edges(), logits, side="right")
    rows = np.bincount(places, minlength=194).astype(float)
    hits = np.bincount(places, weights=events, minlength=194)
    return Profile("study", float(len(logits)), {}, {}, {}, rows, {}, rows, hits)


def drawn(rows: int, seed: int, *, shift=0.0, slope=1.0, mean=-2.5, sd=1.0):
    """Scores, and outcomes whose log-odds are ``shift + slope * score``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(mean, sd, rows)
    return logits, (rng.random(rows) < expit(shift + slope * logits)).astype(float)


def test_figures_are_those_of_the_rows():
    logits, events = drawn(40_000, 1, shift=0.3, slope=0.8)
    found = measure(counted(logits, events))
    risks = expit(logits)
    assert found.rows == 40_000
    assert found.events == events.sum()
    assert found.auroc.value == pytest.approx(roc_auc_score(events, risks), abs=1e-3)
    assert found.brier.value == pytest.approx(brier_score_loss(events, risks), rel=2e-3)
    assert found.expected == pytest.approx(risks.sum(), rel=2e-3)
    assert found.brier_expected == pytest.approx(np.mean(risks * (1 - risks)), rel=2e-3)
    assert found.observed_expected.value == pytest.approx(events.sum() / risks.sum(), rel=2e-3)


def test_slope_and_its_error_are_those_of_a_logistic_regression():
    logits, events = drawn(20_000, 2, shift=-0.2, slope=1.3)
    found = measure(counted(logits, events))
    matrix = np.column_stack([np.ones_like(logits), logits])
    beta = np.zeros(2)
    for _ in range(30):
        risk = expit(matrix @ beta)
        information = (matrix * (risk * (1 - risk))[:, None]).T @ matrix
        beta = beta + np.linalg.solve(information, matrix.T @ (events - risk))
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    assert found.slope.value == pytest.approx(beta[1], abs=0.01)
    assert found.slope.standard_error == pytest.approx(errors[1], rel=0.02)


FIGURES = ["auroc", "observed_expected", "slope", "in_the_large", "brier"]


def test_95_percent_intervals_hold_the_truth_19_times_in_20():
    logits, events = drawn(400_000, 0)
    truth = measure(counted(logits, events))
    inside = dict.fromkeys(FIGURES, 0)
    for seed in range(400):
        found = measure(counted(*drawn(1500, 10 + seed)))
        for name in FIGURES:
            inside[name] += not getattr(found, name).excludes(getattr(truth, name).value)
    for name in FIGURES:
        assert 0.92 <= inside[name] / 400 <= 0.98, name


def test_dispersion_tells_blocks_that_share_a_shock_from_independent_rows():
    independent = [counted(*drawn(2000, seed)) for seed in range(40)]
    rng = np.random.default_rng(8)
    shaken = [counted(*drawn(2000, seed, shift=rng.normal(0, 0.4))) for seed in range(40)]
    assert dispersion_of(independent) < 1.6
    assert dispersion_of(shaken) > 4
    assert dispersion_of(shaken[:5]) == 1.0
    assert dispersion_of([]) == 1.0


def test_intervals_widen_with_the_dispersion():
    profile = counted(*drawn(5000, 4))
    narrow, wide = measure(profile), measure(profile, dispersion=4.0)
    for name in FIGURES:
        one, two = getattr(narrow, name), getattr(wide, name)
        assert two.standard_error == pytest.approx(2 * one.standard_error, rel=1e-6)
        assert two.low < one.low < one.value < one.high < two.high


def test_windows_without_labels_are_not_judged():
    nothing = Profile("study", 10.0, {}, {}, {}, np.zeros(194))
    assert measure(nothing) is None


@pytest.mark.parametrize("event", [0.0, 1.0])
def test_all_of_one_outcome_is_said_as_far_as_it_goes(event):
    logits, _ = drawn(300, 3)
    found = measure(counted(logits, np.full(300, event)))
    assert found.auroc.value is None
    assert found.slope.value is None
    assert not found.slope.excludes(1.0)
    assert found.observed_expected.low < found.observed_expected.high
    assert found.observed_expected.excludes(1.0)


def test_a_single_event_gives_no_interval_of_the_auroc():
    logits, _ = drawn(300, 3)
    events = np.zeros(300)
    events[7] = 1.0
    found = measure(counted(logits, events))
    assert found.auroc.value is not None
    assert found.auroc.low is None


def test_sites_are_measured_over_all_their_windows():
    start = datetime(2024, 1, 1, tzinfo=UTC)

    def window(site, week, profile):
        begin = start + timedelta(weeks=week)
        return SiteWindow(site, begin, begin + timedelta(weeks=1), profile, 10.0, 7.0)

    one, two, other = (counted(*drawn(500, seed)) for seed in (1, 2, 3))
    nothing = Profile("study", 10.0, {}, {}, {}, np.zeros(194))
    windows = [window("a", 0, one), window("b", 0, other), window("a", 1, two)]
    found = measure_by_site([*windows, window("c", 0, nothing)], {"b": 4.0})
    assert set(found) == {"a", "b"}
    assert found["a"] == measure(one + two)
    assert found["b"] == measure(other, 4.0)


def test_more_events_than_rows_are_contradictory():
    rows, events = np.zeros(194), np.zeros(194)
    rows[50], events[50] = 3.0, 4.0
    with pytest.raises(StudyError, match="more events"):
        measure(Profile("study", 3.0, {}, {}, {}, rows, {}, rows, events))


def test_the_document_is_json():
    import json

    found: MeasuredPerformance = measure(counted(*drawn(500, 1)))
    assert json.loads(json.dumps(found.document()))["auroc"]["value"] == found.auroc.value
