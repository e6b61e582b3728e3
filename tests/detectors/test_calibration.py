"""P-values of stationary windows are no smaller than they say, and of moved ones small."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from detectors.world import STUDY, reference, site_windows

from fedrisk.detectors import DETECTORS
from fedrisk.detectors.calibration import Calibration
from fedrisk.errors import StudyError
from fedrisk.profiles import Profile
from fedrisk.profiles.reference import Reference, merge

WASSERSTEIN = DETECTORS["wasserstein"]


def findings(subject: str, seeds: int, weeks: int = 52, *, pulse: float = 0.0, **changes):
    """Findings of the weeks after a reference, over many worlds."""
    for seed in range(seeds):
        known = reference(seed, weeks, **changes)
        calibration = Calibration(known)
        for window in site_windows(seed, 12, site="site-0", first=weeks, pulse=pulse, **changes):
            yield calibration.finding(WASSERSTEIN, window, subject)


@pytest.mark.parametrize("subject", ["pulse", "heat"])
def test_a_stationary_world_with_seasons_is_rarely_found_changed(subject):
    p = np.array([finding.p_value for finding in findings(subject, 30)])
    assert np.mean(p <= 0.05) <= 0.05 + 0.03
    assert np.mean(p <= 0.001) <= 0.01
    assert 0.3 < np.median(p) < 0.7


def test_noise_that_is_taken_off_a_distance_is_not_taken_off_its_p_value():
    p, effects = [], []
    for seed in range(6):
        calibration = Calibration(reference(seed))
        for window in site_windows(seed, 8, site="site-0", first=52):
            finding = calibration.finding(DETECTORS["jensen_shannon"], window, "pulse")
            p.append(finding.p_value)
            effects.append(finding.effect)
    assert 0.2 < np.median(p) < 0.8
    assert abs(np.median(effects)) < 0.5


def test_a_moved_mean_is_found():
    found = list(findings("pulse", 5, pulse=3.0))
    assert np.mean([finding.p_value < 1e-4 for finding in found]) > 0.95
    assert min(finding.effect for finding in found) > 1


def test_a_window_is_held_against_the_spread_of_its_own_time_of_the_year():
    """A pulse that swings from week to week in winter, and stands still in summer."""
    swing = np.random.default_rng(1).normal(0, 4, 52)

    def week(number, pulse):
        return site_windows(0, 1, site="site-0", first=number, pulse=pulse)[0]

    blocks = [week(n, swing[n] if not 13 <= n < 39 else 0.0) for n in range(52)]
    calibration = Calibration(Reference(STUDY.hash, tuple(blocks)))
    winter, summer = (calibration.finding(WASSERSTEIN, week(n, 3.0), "pulse") for n in (53, 78))
    assert summer.p_value < 0.001
    assert winter.p_value > 0.05


def test_a_season_that_the_reference_lacks_is_told_and_is_no_drift():
    found = list(findings("heat", 10, weeks=26))
    assert {finding.against for finding in found} == {"season before"}
    told = [finding.p_value for finding in found if finding.p_value is not None]
    assert np.mean(np.array(told) < 0.001) <= 0.05


def test_few_blocks_give_no_p_value_and_say_so():
    finding = next(iter(findings("pulse", 1, weeks=5)))
    assert finding.p_value is None
    assert finding.distance is not None
    assert "fewer than 6" in finding.reason


@pytest.mark.parametrize("weeks", [1, 3, 8])
@pytest.mark.parametrize("name", ["missingness", "wasserstein"])
def test_a_reference_of_a_few_weeks_has_an_answer(name, weeks):
    """Such as that of a model which was fitted to the weeks since a change."""
    calibration = Calibration(reference(0, weeks))
    for first in range(weeks, weeks + 4):
        window = site_windows(0, 1, site="site-0", first=first)[0]
        finding = calibration.finding(DETECTORS[name], window, "pulse")
        assert finding.distance is not None
        assert finding.p_value is None or weeks > 5


def test_a_window_shorter_than_a_block_gives_no_p_value():
    calibration = Calibration(reference(0))
    window = site_windows(0, 1, site="site-0", first=60, days=2)[0]
    assert "shorter than a block" in calibration.finding(WASSERSTEIN, window, "pulse").reason


@pytest.mark.parametrize(
    ("weeks", "days", "reason"),
    [
        (1, 4.0, "the window has rows on 4 days, the reference on 7"),
        (1, 5.0, ""),
        (4, 16.0, "the window has rows on 16 days, the reference on 28"),
        (4, 17.0, ""),
    ],
)
def test_a_window_with_rows_on_few_days_gives_no_p_value(weeks, days, reason):
    window = site_windows(0, 1, site="site-0", first=60)[0]
    window = replace(window, end=window.start + timedelta(weeks=weeks), days=days)
    finding = Calibration(reference(0)).finding(WASSERSTEIN, window, "pulse")
    assert finding.reason == reason
    assert (finding.p_value is None) == bool(reason)


def test_other_sites_help_to_tell_how_far_blocks_lie_apart():
    """Their spread moderates a site's own; what is typical of it stays its own."""
    window = site_windows(0, 1, site="site-0", first=60, pulse=2.0)[0]
    alone, among = (
        Calibration(reference(0, sites=sites)).finding(WASSERSTEIN, window, "pulse")
        for sites in (1, 4)
    )
    assert (alone.typical, alone.distance) == (among.typical, among.distance)
    assert alone.p_value != among.p_value


def test_one_block_a_site_compares_with_all_of_it_and_gives_no_p_value():
    start, *_, end = site_windows(0, 52, site="one")
    profile = merge(week.profile for week in site_windows(0, 52, site="one"))
    whole = replace(start, end=end.end, profile=profile, days=364.0)
    finding = Calibration(Reference(STUDY.hash, (whole,))).finding(
        WASSERSTEIN, site_windows(0, 1, site="one", first=200)[0], "pulse"
    )
    assert (finding.against, finding.p_value) == ("whole reference", None)
    assert finding.distance < 0.1


@pytest.mark.parametrize("first", [-60, -3, 20, 51, 52, 400])
@pytest.mark.parametrize("weeks", [0, 1, 4, 30])
def test_a_window_of_any_time_and_length_has_an_answer(first, weeks):
    calibration = Calibration(reference(0, 52))
    window = site_windows(0, 1, site="site-0")[0]
    start = window.start + timedelta(weeks=first)
    moved = replace(window, start=start, end=start + timedelta(weeks=weeks), days=7.0 * weeks)
    finding = calibration.finding(WASSERSTEIN, moved, "pulse")
    assert finding.distance is not None
    assert (finding.p_value is None) == bool(finding.reason)


def test_a_window_without_rows_has_no_distance():
    window = replace(site_windows(0, 1, site="site-0", first=60)[0], profile=Profile.empty(STUDY))
    finding = Calibration(reference(0)).finding(WASSERSTEIN, window, "pulse")
    assert (finding.distance, finding.p_value) == (None, None)
    assert "too few rows" in finding.reason


def test_a_site_that_is_not_known_is_held_against_all_together():
    calibration = Calibration(reference(0, sites=2))
    window = replace(site_windows(0, 1, site="serving", first=60)[0])
    finding = calibration.finding(WASSERSTEIN, window, "heat")
    assert finding.p_value is not None
    assert finding.site == "serving"


def test_fewer_of_the_same_people_are_no_drift():
    p = []
    for seed in range(15):
        calibration = Calibration(reference(seed, people=60))
        windows = site_windows(seed, 6, site="site-0", first=52, people=15)
        p += [calibration.finding(WASSERSTEIN, window, "pulse").p_value for window in windows]
    assert np.mean(np.array(p) <= 0.001) <= 0.02


def test_the_same_window_is_judged_the_same_again():
    window = site_windows(0, 1, site="site-0", first=52, people=30)[0]
    one, other = (Calibration(reference(0)).finding(WASSERSTEIN, window, "pulse") for _ in "ab")
    assert one == other


def test_another_study_is_refused():
    window = site_windows(0, 1, site="site-0", first=60)[0]
    other = Reference("f" * 64, ())
    with pytest.raises(StudyError):
        Calibration(other).finding(WASSERSTEIN, window, STUDY.feature_names[0])
