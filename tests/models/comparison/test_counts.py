"""What the first message counts, and what it leaves to no group."""

from __future__ import annotations

import numpy as np
import pytest
from compared_rows import STUDY, site_rows

from fedrisk.models.comparison import compare_rows, comparison_counts
from fedrisk.models.comparison.counts import figure_place
from fedrisk.models.logistic import expit
from fedrisk.models.metrics import LOG_LOSS_FLOOR


@pytest.fixture(scope="module")
def rows():
    return site_rows(np.random.default_rng(1), 900, noise=(0.7, 0.3))


@pytest.fixture(scope="module")
def counts(rows):
    return comparison_counts(rows)


def test_net_benefit_is_true_positives_less_weighted_false_ones(rows, counts):
    high = expit(rows.logits[1]) >= STUDY.bands.high
    hits, alarms = (high & rows.events).sum(), (high & ~rows.events).sum()
    odds = STUDY.bands.high / (1 - STUDY.bands.high)
    place = figure_place("benefit_high", 2, 1)
    assert counts.totals[0, place] == pytest.approx(hits - alarms * odds)


def test_no_group_tells_how_many_of_its_rows_stand_above_a_threshold(counts):
    for name in ("benefit_medium", "benefit_high"):
        for model in range(2):
            place = figure_place(name, 2, model)
            assert not counts.totals[1:, place].any()
            assert not counts.moments[1:, :, place].any()
            assert counts.totals[0, place] != 0


def test_churn_counts_who_changes_the_band(rows, counts):
    champion, challenger = (np.digitize(expit(each), [0.1, 0.3]) for each in rows.logits)
    for one in range(3):
        for other in range(3):
            same = (champion == one) & (challenger == other)
            assert counts.churn[1, one, other] == same.sum()
    assert counts.churn[0].sum() == np.trace(counts.churn[0])


def test_a_score_without_doubt_that_is_wrong_costs_much_and_not_everything():
    logits = np.array([[800.0, -800.0, 800.0, -800.0]])
    rows = site_rows(
        np.random.default_rng(1), 4, logits=logits, events=np.array([False, True, True, False])
    )
    loss = comparison_counts(rows).totals[0, figure_place("log_loss", 1)]
    assert loss == pytest.approx(-2 * np.log(LOG_LOSS_FLOOR), rel=1e-3)


def test_treated_rows_are_told_about_by_band():
    rng = np.random.default_rng(2)
    treated = rng.random(500) < 0.3
    for untreated in (False, True):
        rows = site_rows(np.random.default_rng(3), 500, treated=treated, untreated=untreated)
        counts = comparison_counts(rows)
        assert counts.band_treated.sum() == treated.sum()
        assert counts.band_rows.sum() == 500
        assert counts.treated_events == rows.events[treated].sum()
        assert counts.treated_expected == pytest.approx(expit(rows.logits[0, treated]).sum())
        assert counts.rows[0] == (500 - treated.sum() if untreated else 500)


def test_weighted_untreated_rows_say_what_all_rows_would_say():
    rng = np.random.default_rng(4)
    whole = site_rows(np.random.default_rng(5), 60_000, noise=(0.7, 0.3))
    treated = (whole.champion_bands == 2) & (rng.random(60_000) < 0.8)
    part = site_rows(
        np.random.default_rng(5), 60_000, noise=(0.7, 0.3), treated=treated, untreated=True
    )
    names = ("champion", "challenger")
    truth, told = (compare_rows(STUDY, names, {"a": each}) for each in (whole, part))
    assert told.untreated
    assert told.effective_rows < told.rows < truth.rows
    for name in names:
        one, other = truth.models[name], told.models[name]
        for figure in ("auroc", "log_loss", "observed_expected"):
            assert getattr(other, figure).value == pytest.approx(
                getattr(one, figure).value, abs=0.02
            )
    naive = site_rows(np.random.default_rng(5), 60_000, noise=(0.7, 0.3))
    kept = ~treated
    naive_ratio = naive.events[kept].sum() / expit(naive.logits[1, kept]).sum()
    truth_ratio = truth.models["challenger"].observed_expected.value
    weighted_ratio = told.models["challenger"].observed_expected.value
    assert abs(weighted_ratio - truth_ratio) < abs(naive_ratio - truth_ratio)
