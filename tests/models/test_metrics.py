from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from fedrisk.models.logistic import expit
from fedrisk.models.metrics import (
    EvaluationSums,
    binned_auroc,
    calibration,
    delong,
    evaluation_dimensions,
    evaluation_sums,
    overall_metrics,
    site_evaluation,
)

seeds = st.integers(0, 2**32 - 1)


def scored(seed, rows, centre=-1.0, spread=1.0):
    """Logit scores and outcomes that they predict with right calibration."""
    rng = np.random.default_rng(seed)
    logit = centre + spread * rng.normal(size=rows)
    events = rng.random(rows) < expit(logit)
    events[:2] = [True, False]
    return logit, events


def brute_delong(scores, events):
    """AUROC and standard error from every pair, in O(mn), as DeLong et al. define them."""
    cases, controls = scores[events], scores[~events]
    wins = (cases[:, None] > controls) + 0.5 * (cases[:, None] == controls)
    by_case, by_control = wins.mean(axis=1), wins.mean(axis=0)
    variance = by_case.var(ddof=1) / len(cases) + by_control.var(ddof=1) / len(controls)
    return wins.mean(), np.sqrt(variance)


@given(seed=seeds, rows=st.integers(6, 80), digits=st.integers(0, 3))
@settings(deadline=None)
def test_delong_equals_the_brute_force(seed, rows, digits):
    scores, events = scored(seed, rows, centre=0.0)
    scores = np.round(scores, digits)  # ties
    events[2:4] = [True, False]
    auroc, error = delong(scores, events)
    expected = brute_delong(scores, events)
    assert auroc == pytest.approx(expected[0], abs=1e-12)
    assert auroc == pytest.approx(roc_auc_score(events, scores), abs=1e-12)
    assert error == pytest.approx(expected[1], abs=1e-9)


def test_delong_with_a_single_event():
    auroc, error = delong(np.array([0.0, 1.0, 2.0]), np.array([False, True, False]))
    assert auroc == 0.5
    assert error == pytest.approx(np.sqrt(0.5 / 2))


@pytest.mark.parametrize("centre", [-5.6, -3.0, 0.0, 3.0])
@pytest.mark.parametrize("spread", [0.1, 0.5, 1.5, 4.0])
def test_auroc_from_bins_is_within_a_thousandth(centre, spread):
    logit, events = scored(7, 100_000, centre, spread)
    sums = evaluation_sums(logit, events)
    auroc, error = binned_auroc(sums.bin_events, sums.bin_rows)
    exact, exact_error = delong(logit, events)
    assert auroc == pytest.approx(exact, abs=1e-3)
    assert error == pytest.approx(exact_error, rel=0.01)


def test_auroc_of_a_model_whose_scores_are_shrunk_a_tenfold():
    logit, events = scored(8, 200_000, centre=-5.8)
    assert 0.003 < events.mean() < 0.007
    shrunk = -5.8 + (logit + 5.8) / 10
    sums = evaluation_sums(shrunk, events)
    assert binned_auroc(sums.bin_events, sums.bin_rows)[0] == pytest.approx(
        roc_auc_score(events, shrunk), abs=1e-3
    )


@given(seed=seeds, rows=st.integers(2, 300), cuts=st.lists(st.integers(0, 300), max_size=4))
@settings(deadline=None)
def test_sites_sums_give_the_pooled_figures(seed, rows, cuts):
    logit, events = scored(seed, rows)
    borders = sorted(min(cut, rows) for cut in cuts)
    sites = zip(np.split(logit, borders), np.split(events, borders), strict=True)
    parts = [evaluation_sums(*site) for site in sites]  # empty and one-class ones among them
    for part in parts:
        part.check(evaluation_dimensions())
    figures, pooled = (
        overall_metrics(reduce(add, parts)),
        overall_metrics(evaluation_sums(logit, events)),
    )
    assert figures.keys() == pooled.keys()
    for name, value in pooled.items():
        assert figures[name] == (None if value is None else pytest.approx(value, rel=1e-6)), name
    risk = expit(logit)
    assert figures["brier"] == pytest.approx(brier_score_loss(events, risk), rel=1e-10)
    assert figures["log_loss"] == pytest.approx(log_loss(events, risk), rel=1e-10)
    assert figures["observed_expected"] == pytest.approx(events.sum() / risk.sum())
    assert figures["rows"] == rows
    assert figures["events"] == events.sum()


def test_certain_risks_have_a_finite_log_loss_as_in_scikit_learn():
    logit, events = np.array([800.0, -800.0, 40.0]), np.array([False, True, True])
    sums = evaluation_sums(logit, events)
    assert float(sums.log_loss) / 3 == pytest.approx(log_loss(events, expit(logit)))
    sums.check(evaluation_dimensions())


@given(
    seed=seeds,
    tilt=st.floats(0.3, 3),
    shift=st.floats(-1, 1),
)
@settings(max_examples=25, deadline=None)
def test_calibration_equals_the_fit_on_single_rows(seed, tilt, shift):
    logit, events = scored(seed, 3000)
    score = shift + tilt * logit
    figures = overall_metrics(evaluation_sums(score, events))
    unbinned = LogisticRegression(solver="newton-cholesky", C=np.inf, tol=1e-12)
    unbinned.fit(score[:, None], events)
    # A bin's rows stand at its mean score: that moves the slope by some hundredths of its error.
    assert figures["calibration_slope"] == pytest.approx(unbinned.coef_[0, 0], rel=5e-3)
    # The intercept with slope 1 makes expected equal observed.
    expected = expit(score + figures["calibration_intercept"]).sum()
    assert expected == pytest.approx(events.sum(), rel=1e-4)


def test_calibration_of_one_score_has_no_slope():
    events = np.arange(40) % 4 == 0
    figures = overall_metrics(evaluation_sums(np.zeros(40), events))
    assert figures["calibration_slope"] is None
    assert figures["calibration_intercept"] == pytest.approx(np.log(1 / 3))


def test_calibration_of_scores_that_separate_has_no_slope():
    score = np.linspace(-3, 3, 50)
    assert overall_metrics(evaluation_sums(score, score > 0))["calibration_slope"] is None


def test_calibration_survives_scores_that_are_far_off():
    logit, events = scored(3, 5000)
    figures = overall_metrics(evaluation_sums(9 * logit + 30, events))
    assert figures["calibration_slope"] == pytest.approx(1 / 9, rel=0.2)
    assert figures["calibration_intercept"] < -20


@pytest.mark.parametrize("events", [np.zeros(5, bool), np.ones(5, bool), np.zeros(0, bool)])
def test_one_class_or_no_rows_leave_figures_undefined(events):
    logit = np.linspace(-1, 1, len(events))
    figures = overall_metrics(evaluation_sums(logit, events))
    undefined = ("auroc", "auroc_standard_error", "calibration_slope", "calibration_intercept")
    assert all(figures[name] is None for name in undefined)
    assert calibration(np.zeros(3), np.zeros(3), np.zeros(3)) == (None, None)
    own = site_evaluation(logit, events)
    assert float(own.defined) == float(own.auroc) == 0


def test_a_site_sends_its_own_auroc():
    logit, events = scored(4, 60)
    own = site_evaluation(logit, events)
    own.check({})
    assert (float(own.auroc), float(own.auroc_standard_error)) == delong(logit, events)


@given(seed=seeds, rows=st.integers(0, 50))
@settings(deadline=None)
def test_bins_hold_every_row(seed, rows):
    rng = np.random.default_rng(seed)
    logit, events = rng.normal(size=rows) * 20, rng.random(rows) < 0.5
    sums = evaluation_sums(logit, events)
    assert sums.bin_rows.sum() == rows
    assert sums.bin_events.sum() == events.sum()
    assert sums.bin_logits.sum() == pytest.approx(logit.sum())
    assert isinstance(sums, EvaluationSums)
