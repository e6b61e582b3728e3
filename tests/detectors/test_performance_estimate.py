"""CBPE: right where its conditions hold, and silent or warned where they do not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from detectors.score_worlds import counted, draw, draw_with_prevalence
from sklearn.metrics import roc_auc_score

from fedrisk.detectors.performance_estimate import estimate_performance
from fedrisk.errors import StudyError
from fedrisk.profiles.profile import Profile

REFERENCE = counted(*draw(40_000, 0))


def conditions(found):
    return {each.name: each.holds for each in found.conditions}


@pytest.mark.parametrize(
    "change", [{}, {"mean": -3.2}, {"sd": 0.7}, {"mean": -1.5, "sd": 0.8}], ids=str
)
def test_a_population_that_changed_is_estimated_without_labels(change):
    """Covariate shift: what a score means stays."""
    logits, events = draw(40_000, 3, **change)
    found = estimate_performance(REFERENCE, counted(logits, events, labelled=False))
    assert found.auroc == pytest.approx(roc_auc_score(events, logits), abs=0.015)
    assert found.prevalence == pytest.approx(events.mean(), rel=0.06)
    assert found.holds is not False, found.failures


def test_a_loss_of_discrimination_is_seen_against_the_reference():
    found = estimate_performance(REFERENCE, counted(*draw(20_000, 3, sd=0.6), labelled=False))
    truth = roc_auc_score(*draw(40_000, 0)[::-1]) - roc_auc_score(*draw(40_000, 3, sd=0.6)[::-1])
    assert found.auroc_loss == pytest.approx(truth, abs=0.02)
    assert found.auroc_loss > 0.08


def test_scores_that_are_no_risks_are_read_by_the_references_own_calibration():
    """A model that is too sure, and events twice as often as it says."""
    reference = counted(*draw(40_000, 1, shift=0.7, slope=0.6))
    logits, events = draw(40_000, 2, shift=0.7, slope=0.6, mean=-3.0)
    found = estimate_performance(reference, counted(logits, events, labelled=False))
    assert found.auroc == pytest.approx(roc_auc_score(events, logits), abs=0.015)
    assert found.prevalence == pytest.approx(events.mean(), rel=0.06)


def test_a_shift_of_the_labels_is_said_to_break_it():
    """The estimate is wrong there, and says so."""
    drawn = draw_with_prevalence(40_000, 5, 0.3)
    found = estimate_performance(REFERENCE, counted(*drawn, labelled=False))
    assert abs(found.prevalence - drawn[1].mean()) > 0.05
    assert conditions(found)["not labels"] is False
    assert found.holds is False
    assert "28.80%" in found.failures[0]


def test_few_rows_leave_it_open_whether_the_labels_shifted():
    rare = {"mean": -3.7, "sd": 0.7}
    reference = counted(*draw(12_000, 1, **rare))
    found = estimate_performance(reference, counted(*draw(800, 2, **rare), labelled=False))
    assert conditions(found)["not labels"] is None
    assert "too uncertain" in {c.name: c.sentence for c in found.conditions}["not labels"]


def test_a_changed_concept_cannot_be_seen_by_scores_but_by_the_labels_there_are():
    logits, events = draw(20_000, 4, shift=1.0)
    blind = estimate_performance(REFERENCE, counted(logits, events, labelled=False))
    assert blind.holds is None
    assert conditions(blind)["labels agree"] is None
    seeing = estimate_performance(REFERENCE, counted(logits, events))
    assert conditions(seeing)["labels agree"] is False
    assert seeing.holds is False


def test_labels_that_agree_and_weak_evidence_hold_it():
    found = estimate_performance(REFERENCE, counted(*draw(20_000, 4)), e_value=0.7)
    assert conditions(found) == dict.fromkeys(conditions(found), True)
    assert found.holds is True
    assert found.failures == ()


def test_strong_evidence_of_earlier_windows_breaks_it():
    found = estimate_performance(REFERENCE, counted(*draw(20_000, 4)), e_value=25.0)
    assert conditions(found)["no evidence against"] is False
    assert "25" in found.failures[0]


def test_scores_where_the_reference_has_none_are_not_estimated_in_good_faith():
    found = estimate_performance(REFERENCE, counted(*draw(5000, 4, mean=5.0), labelled=False))
    assert conditions(found)["supported"] is False


def test_a_reference_that_no_slope_and_shift_makes_calibrated_is_said_to_be_none():
    logits, events = draw(40_000, 1)
    odd = np.where(np.abs(logits + 2.0) < 0.7, 0.0, events)  # no event where scores are medium
    found = estimate_performance(counted(logits, odd), counted(logits, events, labelled=False))
    assert conditions(found)["calibrated"] is False
    assert "at worst 0." in found.failures[0]


def test_a_reference_without_scores_tells_no_loss():
    bare = Profile("study", 4000.0, {}, {}, {}, np.zeros(194))
    found = estimate_performance(bare, counted(*draw(4000, 2), labelled=False))
    assert found.auroc is not None
    assert found.auroc_loss is None


def test_a_reference_without_labels_leaves_every_condition_open():
    bare = counted(*draw(4000, 1), labelled=False)
    found = estimate_performance(bare, counted(*draw(4000, 2), labelled=False))
    assert conditions(found) == dict.fromkeys(conditions(found), None)
    assert found.auroc_loss == pytest.approx(0.0, abs=0.03)


def test_stationary_windows_hold_nearly_always():
    failing = [
        estimate_performance(REFERENCE, counted(*draw(2000, seed)), 1.0).holds is False
        for seed in range(100, 300)
    ]
    assert np.mean(failing) <= 0.03


def test_few_scores_and_other_studies():
    assert estimate_performance(REFERENCE, counted(*draw(10, 1))) is None
    with pytest.raises(StudyError):
        estimate_performance(REFERENCE, Profile("other", 10.0, {}, {}, {}, np.ones(194)))


def test_the_document_is_json():
    found = estimate_performance(REFERENCE, counted(*draw(500, 1)))
    document = json.loads(json.dumps(found.document()))
    assert document["auroc"] == found.auroc
    assert document["conditions"][0]["name"] == "calibrated"
