"""The e-process: error at any stopping time, power, late changes, stopping and going on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.detectors.score_bins import bin_logits, bin_risks
from fedrisk.detectors.sequential import CalibrationEvidence
from fedrisk.errors import StudyError
from fedrisk.models.logistic import expit

SPLIT = -3.0
ALPHA = 0.05


def spread(rows: int, rng: np.random.Generator, mean: float = -3.0, sd: float = 0.8):
    """Rows by score bin, of scores that are normal on the logit scale."""
    weights = np.exp(-0.5 * ((bin_logits() - mean) / sd) ** 2)
    return rng.multinomial(rows, weights / weights.sum()).astype(float)


def window(rng, shift=0.0, slope=1.0, rows=400):
    """One window's counts when log-odds are ``shift + slope * (score - split)`` from the split."""
    counts = spread(rows, rng)
    risk = expit(SPLIT + shift + slope * (bin_logits() - SPLIT))
    return counts, rng.binomial(counts.astype(int), risk).astype(float)


def windows_until_alarm(watch, draw, alpha=ALPHA, most=60):
    """Windows until the first alarm, of somebody who looks after each; None: no alarm."""
    for count in range(1, most + 1):
        watch = watch.after_counts(*draw(count))
        if watch.rejects(alpha):
            return count
    return None


def found_within(start, most, streams=30, **change):
    """Share of streams of a changed world with an alarm within so many windows."""

    def alarm(seed):
        rng = np.random.default_rng(seed)
        return windows_until_alarm(start, lambda _: window(rng, **change), most=most)

    return np.mean([alarm(seed) is not None for seed in range(streams)])


def alarms(start, draw_for, streams=300, most=40):
    """Share of streams with an alarm at any of the looks."""
    found = [
        windows_until_alarm(start, draw_for(np.random.default_rng(seed)), most=most)
        for seed in range(streams)
    ]
    return np.mean([each is not None for each in found])


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.1])
def test_looking_after_every_window_errs_at_most_as_often_as_stated(shift):
    """Also at the border of what is tolerated, where a fixed-sample test each time would fire."""
    start = CalibrationEvidence.start(SPLIT, tolerance=0.1)
    share = alarms(start, lambda rng: lambda _: window(rng, shift))
    # 300 streams: 5 % and three standard errors of it.
    assert share <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / 300)


def test_a_fixed_sample_test_at_every_look_would_not_hold_its_level():
    """What the e-process is for: the same looks by a z-test of observed against expected."""

    def fires(seed):
        rng = np.random.default_rng(seed)
        observed = expected = variance = 0.0
        for _ in range(40):
            rows, events = window(rng)
            risks = bin_risks()
            observed += events.sum()
            expected += rows @ risks
            variance += rows @ (risks * (1 - risks))
            if abs(observed - expected) > 1.96 * np.sqrt(variance):
                return True
        return False

    assert np.mean([fires(seed) for seed in range(200)]) > 3 * ALPHA


@pytest.mark.parametrize(
    ("shift", "slope"),
    [(0.7, 1.0), (-0.7, 1.0), (0.0, 2.2), (0.0, 0.2)],
    ids=["oftener", "seldom", "steeper", "flatter"],
)
def test_a_change_is_found_whatever_its_direction(shift, slope):
    start = CalibrationEvidence.start(SPLIT, tolerance=0.1)
    assert found_within(start, 30, shift=shift, slope=slope) >= 0.9


def test_a_change_after_a_long_quiet_time_is_found_nearly_as_fast_as_one_at_the_start():
    start = CalibrationEvidence.start(SPLIT, tolerance=0.1)

    def delay(seed, quiet):
        rng = np.random.default_rng(seed)
        watch = start
        for _ in range(quiet):
            watch = watch.after_counts(*window(rng))
        return windows_until_alarm(watch, lambda _: window(rng, 0.7), most=60)

    early = np.median([delay(seed, 0) for seed in range(30)])
    late = np.median([delay(seed, 100) for seed in range(30)])
    assert late <= 3 * early + 3


def test_evidence_does_not_depend_on_how_a_windows_rows_are_ordered_or_split_by_site():
    rng = np.random.default_rng(1)
    one, two = window(rng), window(rng)
    start = CalibrationEvidence.start(SPLIT)
    together = start.after_counts(one[0] + two[0], one[1] + two[1])
    other_way = start.after_counts(two[0] + one[0], two[1] + one[1])
    assert together.e_value == pytest.approx(other_way.e_value, rel=1e-12)


def test_a_window_without_labels_changes_nothing():
    start = CalibrationEvidence.start(SPLIT)
    assert start.after_counts(np.zeros(194), np.zeros(194)) == start
    assert start.e_value == 1.0


def test_the_expected_fortune_is_the_stake_where_the_null_is_exact():
    """No more, and with no tolerance no less: nothing is given away."""
    start = CalibrationEvidence.start(SPLIT, tolerance=0.0)
    rng = np.random.default_rng(5)
    ends = []
    for _ in range(4000):
        watch = start
        for _ in range(2):
            watch = watch.after_counts(*window(rng, rows=20))
        ends.append(watch.e_value)
    assert np.mean(ends) == pytest.approx(1.0, abs=4 * np.std(ends) / np.sqrt(len(ends)))


@given(
    place=st.integers(0, 193),
    tolerance=st.floats(0.0, 1.0),
    within=st.floats(-1.0, 1.0),
    past=st.integers(0, 5),
)
def test_a_row_within_the_tolerance_is_never_a_bet_that_pays(place, tolerance, within, past):
    """Whatever was seen before: the expected fortune stays, or falls."""
    watch = CalibrationEvidence.start(SPLIT, tolerance)
    for count in range(past):
        watch = watch.after_counts(*window(np.random.default_rng(count), 0.3, rows=50))
    row = np.zeros(194)
    row[place] = 1.0
    lost, won = (watch.after_counts(row, row * outcome).e_value for outcome in (0.0, 1.0))
    risk = expit(bin_logits()[place] + within * tolerance)
    assert risk * won + (1 - risk) * lost <= watch.e_value * (1 + 1e-9)
    if tolerance == 0:
        assert risk * won + (1 - risk) * lost == pytest.approx(watch.e_value, rel=1e-9)


def test_a_watch_that_was_stored_goes_on_as_if_it_had_not_been():
    start = CalibrationEvidence.start(SPLIT, 0.2)
    rng = np.random.default_rng(3)
    watch = start.after_counts(*window(rng, 0.4))
    again = type(start).from_document(json.loads(json.dumps(watch.document())))
    more = window(rng, 0.4)
    assert again.after_counts(*more).e_value == watch.after_counts(*more).e_value
    fresh = type(start).from_document(json.loads(json.dumps(start.document())))
    assert fresh.e_value == 1.0


def test_the_p_value_remembers_the_strongest_moment():
    rng = np.random.default_rng(4)
    watch = CalibrationEvidence.start(SPLIT)
    for _ in range(12):
        watch = watch.after_counts(*window(rng, 0.9))
    strongest = watch.p_value
    for _ in range(40):
        watch = watch.after_counts(*window(rng, -0.1))
    assert watch.p_value <= strongest < 0.01


def test_overwhelming_evidence_stays_a_finite_number():
    watch = CalibrationEvidence.start(SPLIT)
    rows = spread(1_000_000, np.random.default_rng(0))
    watch = watch.after_counts(rows, rows)
    assert np.isfinite(watch.e_value)
    assert watch.p_value < 1e-300
    assert json.loads(json.dumps(watch.document()))["fortune"]["highest"] > 1e300


@pytest.mark.parametrize(
    "damage",
    [
        {"fortune": {}},
        {"kind": "loss"},
        {"split": "x"},
        {"fortune": {"windows": 1, "logs": [0.0], "highest": 1.0}},
    ],
)
def test_a_damaged_state_is_refused(damage):
    with pytest.raises(StudyError):
        CalibrationEvidence.from_document(CalibrationEvidence.start(SPLIT).document() | damage)


@pytest.mark.parametrize(("split", "tolerance"), [(0.0, -0.1), (float("nan"), 0.1)])
def test_a_tolerance_or_split_that_means_nothing_is_refused(split, tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        CalibrationEvidence.start(split, tolerance)
