"""Label shift: the true prevalence, its error, and no claim where something else shifted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from detectors.score_worlds import counted, draw, draw_with_prevalence
from scipy.stats import chi2

from fedrisk.detectors.label_shift import (
    LARGEST_ERROR,
    LEAST_P,
    LabelShift,
    chi_square_tail,
    estimate_label_shift,
)
from fedrisk.errors import StudyError
from fedrisk.profiles.profile import Profile

REFERENCE = counted(*draw(40_000, 0))
DETECTOR = LabelShift()


def without_labels(drawn) -> Profile:
    return counted(*drawn, labelled=False)


@pytest.mark.parametrize("prevalence", [0.04, 0.12, 0.25, 0.5])
def test_the_prevalence_is_found_without_a_label(prevalence):
    drawn = draw_with_prevalence(20_000, 7, prevalence)
    found = estimate_label_shift(REFERENCE, without_labels(drawn))
    assert found.holds
    assert abs(found.prevalence - drawn[1].mean()) < 3 * found.standard_error
    assert found.standard_error < 0.02
    assert "in keeping" in found.sentence


@pytest.mark.parametrize(
    ("reference", "window", "prevalence"), [(4000, 1500, 0.2), (1200, 3000, 0.5)]
)
def test_its_error_is_as_large_as_it_says(reference, window, prevalence):
    """Scatter of estimates from references and windows of their own, either of them small."""
    estimates = [
        estimate_label_shift(
            counted(*draw(reference, seed)),
            without_labels(draw_with_prevalence(window, seed, prevalence)),
        )
        for seed in range(1000, 1100)
    ]
    spread = np.std([each.prevalence for each in estimates])
    assert np.mean([each.standard_error for each in estimates]) == pytest.approx(spread, rel=0.2)
    errors = [each.log_odds_ratio_error for each in estimates]
    assert np.mean(errors) == pytest.approx(np.std([e.log_odds_ratio for e in estimates]), rel=0.2)


def test_another_population_is_not_taken_for_a_shift_of_the_labels():
    """Scores that no proportion of the reference's events and others gives."""
    for change in ({"mean": -4.0}, {"sd": 0.6}, {"mean": -1.0, "sd": 0.5}):
        found = estimate_label_shift(REFERENCE, without_labels(draw(20_000, 3, **change)))
        assert not found.holds
        assert "no mixture" in found.sentence


def test_a_stationary_window_is_hardly_ever_said_to_be_no_mixture():
    refused = [
        not estimate_label_shift(REFERENCE, without_labels(draw(2000, seed))).holds
        for seed in range(100, 300)
    ]
    assert np.mean(refused) <= 0.02


def test_a_small_references_noise_is_not_taken_for_another_shift():
    """Few of its events stand for many of the window's: p-values stay about uniform."""

    def p_value(seed):
        logits, events = draw(40_000, seed + 5000)
        chosen = np.concatenate([logits[events == 1][:2700], logits[events == 0][:3300]])
        window = without_labels((chosen, np.zeros(6000)))
        return estimate_label_shift(counted(*draw(3000, seed)), window).p_value

    p_values = np.array([p_value(seed) for seed in range(150)])
    assert 0.35 < np.mean(p_values) < 0.6
    assert np.mean(p_values < LEAST_P) <= 0.04


def test_noise_alone_gives_no_distance_on_average():
    distances = [
        DETECTOR.distance(REFERENCE, without_labels(draw(2000, seed)), "labels")
        for seed in range(100, 300)
    ]
    assert abs(np.mean(distances)) < 4 * np.std(distances) / np.sqrt(200) + 0.02


def test_the_distance_is_the_change_of_the_log_odds():
    drawn = draw_with_prevalence(40_000, 5, 0.3)
    before, now = REFERENCE.events.sum() / REFERENCE.rows, drawn[1].mean()
    truth = np.log(now / (1 - now)) - np.log(before / (1 - before))
    found = DETECTOR.distance(REFERENCE, without_labels(drawn), "labels")
    assert found == pytest.approx(truth, abs=0.1)
    assert "3.26 times" in DETECTOR.explain(truth, "labels")


def test_with_the_noise_that_it_takes_off_it_is_the_log_odds_ratio():
    window = without_labels(draw_with_prevalence(2000, 5, 0.2))
    cells = [DETECTOR.cells(each, "labels") for each in (REFERENCE, window)]
    whole = DETECTOR.distances(*cells) + DETECTOR.noise(*cells)
    assert whole == pytest.approx(estimate_label_shift(REFERENCE, window).log_odds_ratio)


def test_many_windows_at_once_give_what_each_gives():
    windows = [without_labels(draw_with_prevalence(2000, seed, 0.2)) for seed in range(4)]
    cells = np.array([DETECTOR.cells(window, "labels") for window in windows])
    together = DETECTOR.distances(DETECTOR.cells(REFERENCE, "labels"), cells)
    alone = [DETECTOR.distance(REFERENCE, window, "labels") for window in windows]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


@pytest.mark.parametrize(
    "reference",
    [
        counted(*draw(300, 1, mean=-6.0)),
        counted(*draw(4000, 1, slope=0.0, shift=-1.0)),
        without_labels(draw(4000, 1)),
    ],
    ids=["few events", "scores without meaning", "no labels"],
)
def test_a_reference_that_cannot_tell_says_nothing(reference):
    current = without_labels(draw(2000, 2))
    assert estimate_label_shift(reference, current) is None
    assert DETECTOR.distance(reference, current, "labels") is None


def test_rows_that_tell_odds_only_roughly_give_an_estimate_and_no_distance():
    """Rare events, scores close together, a week of one site: noise would be taken for a shift."""
    reference = counted(*draw(12_000, 1, mean=-3.7, sd=0.7))
    week = without_labels(draw(800, 2, mean=-3.7, sd=0.7))
    found = estimate_label_shift(reference, week)
    assert found.log_odds_ratio_error > LARGEST_ERROR
    assert DETECTOR.distance(reference, week, "labels") is None
    quarter = without_labels(draw(60_000, 3, mean=-3.7, sd=0.7))
    assert DETECTOR.distance(counted(*draw(60_000, 4, mean=-3.7, sd=0.7)), quarter, "labels") < 0.3


def test_a_distance_is_told_where_odds_are_known_to_half_a_unit():
    """Scores as in the reference, of ever more rows: the error falls by their root."""
    told = {}
    for rows in np.geomspace(40, 4000, 41):
        window = Profile("study", rows, {}, {}, {}, REFERENCE.scores * rows / REFERENCE.rows)
        error = estimate_label_shift(REFERENCE, window).log_odds_ratio_error
        told[error] = DETECTOR.distance(REFERENCE, window, "labels") is not None
    assert all(is_told == (error <= LARGEST_ERROR) for error, is_told in told.items())
    assert {True, False} == set(told.values())


def test_a_window_without_scores_says_nothing():
    assert estimate_label_shift(REFERENCE, without_labels(draw(10, 2))) is None


def test_no_event_at_all_stays_a_finite_number():
    logits, events = draw(40_000, 9)
    found = estimate_label_shift(REFERENCE, without_labels((logits[logits < -4], events)))
    assert found.prevalence == 0.0
    assert np.isfinite([found.log_odds_ratio, found.log_odds_ratio_error]).all()
    assert json.loads(json.dumps(found.document()))["prevalence"] == 0.0


def test_another_study_is_refused():
    other = Profile("other", 10.0, {}, {}, {}, np.ones(194))
    with pytest.raises(StudyError):
        estimate_label_shift(REFERENCE, other)


@pytest.mark.parametrize("freedom", [1, 3, 8])
def test_the_tail_of_chi_square_is_near_the_exact_one(freedom):
    for p in (0.5, 0.05, 0.01, 0.001):
        assert chi_square_tail(chi2.isf(p, freedom), freedom) == pytest.approx(p, rel=0.2)
