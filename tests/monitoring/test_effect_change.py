"""The change of a feature's effect is a weighted regression within seasons of sites."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import norm

from fedrisk.detectors.score_bins import bin_risks
from fedrisk.models.logistic import expit
from fedrisk.monitoring.effect_change import LEAST_WINDOWS, effect_changes
from fedrisk.monitoring.outcomes import Outcomes
from fedrisk.monitoring.units import bin_centres
from fedrisk.profiles.profile import Profile
from fedrisk.study import parse_study

STUDY = parse_study(
    {
        "name": "effects",
        "label": "event",
        "positive": [1],
        "features": [
            {"name": "pm", "kind": "number", "minimum": 0, "maximum": 100},
            {"name": "heat", "kind": "number", "minimum": -40, "maximum": 60},
        ],
    }
)
START = datetime(2025, 1, 6, tzinfo=UTC)
PLACE = 72
RISK = bin_risks()[PLACE]
MODEL = {"columns": [{"feature": "pm", "kind": "value", "coefficient": 0.5, "scale": 25.0}]}


def weeks(seed, slope, season="DJF", sites="ab", number=20, rows=20_000.0):
    """Weeks of sites of different levels, whose log-odds are off by so much a unit of PM."""
    random = np.random.default_rng(seed)
    found = []
    for place, site in enumerate(sites):
        for week in range(number):
            bins = {
                feature.name: np.eye(len(bin_centres(feature)))[random.integers(20, 200)] * 50.0
                for feature in STUDY.numbers
            }
            pm = bins["pm"] @ bin_centres(STUDY.numbers[0]) / 50
            risk = expit(np.log(RISK / (1 - RISK)) + slope * (pm - 50) + 0.3 * place)
            labelled, events = np.zeros(194), np.zeros(194)
            labelled[PLACE] = rows * random.uniform(0.5, 1.5)
            events[PLACE] = random.poisson(labelled[PLACE] * risk)
            profile = replace(Profile.empty(STUDY), numbers=bins)
            start = START + timedelta(weeks=week)
            end = start + timedelta(weeks=1)
            found.append(Outcomes(site, start, end, season, labelled, events, profile))
    return found


def regression(feature, outcomes):
    """Slope and its variance by least squares with a level for each site."""
    sites = sorted({each.site for each in outcomes})
    weight = np.array([each.information for each in outcomes])
    off = np.array([each.observed - each.expected for each in outcomes]) / weight
    counts = np.array([each.profile.numbers[feature.name] for each in outcomes])
    value = counts @ bin_centres(feature) / counts.sum(axis=1)
    levels = [[float(each.site == site) for each in outcomes] for site in sites]
    design = np.array([value, *levels]).T
    root = np.sqrt(weight)[:, None]
    solved = np.linalg.lstsq(root * design, root[:, 0] * off, rcond=None)[0]
    rest = weight @ (off - design @ solved) ** 2 / (len(value) - len(sites) - 1)
    inverse = np.linalg.inv((root * design).T @ (root * design))
    return solved[0], max(rest, 1.0) * inverse[0, 0]


def test_a_change_is_the_difference_of_two_regressions_averaged_over_seasons():
    before = weeks(1, 0.002) + weeks(2, 0.001, "JJA")
    now = weeks(3, 0.01) + weeks(4, 0.008, "JJA", sites="a", number=9)
    found = {each.feature: each for each in effect_changes(STUDY, before, now, MODEL)}
    for feature in STUDY.numbers:
        told = []
        for season in ("DJF", "JJA"):
            ours, usual = (
                regression(feature, [each for each in some if each.season == season])
                for some in (now, before)
            )
            told.append((ours[0] - usual[0], ours[1] + usual[1]))
        precision = sum(1 / variance for _, variance in told)
        change = sum(each / variance for each, variance in told) / precision
        p_value = min(2 * 2 * norm.sf(abs(change) * np.sqrt(precision)), 1.0)
        one = found[feature.name]
        assert one.change == pytest.approx(change, rel=1e-6)
        assert one.standard_error == pytest.approx(precision**-0.5, rel=1e-6)
        assert one.p_value == pytest.approx(p_value, rel=1e-6)
    assert found["pm"].times == pytest.approx((0.02 + found["pm"].change) / 0.02)
    assert found["heat"].times is None


def test_the_surest_change_comes_first():
    found = effect_changes(STUDY, weeks(1, 0.0), weeks(3, 0.01), MODEL)
    assert [each.feature for each in found] == ["pm", "heat"]
    assert found[0].p_value < 1e-6
    assert found[0].change == pytest.approx(0.01, rel=0.3)  # one step of Newton's, of large ones


def test_few_weeks_tell_nothing():
    few = weeks(3, 0.01, number=LEAST_WINDOWS - 1, sites="a")
    assert effect_changes(STUDY, weeks(1, 0.0), few, MODEL) == []
    assert effect_changes(STUDY, few, weeks(1, 0.0), MODEL) == []
    enough = weeks(3, 0.01, number=LEAST_WINDOWS, sites="a")
    assert len(effect_changes(STUDY, weeks(1, 0.0), enough, MODEL)) == 2
    assert effect_changes(STUDY, weeks(1, 0.0, "JJA"), enough, MODEL) == []


def test_p_values_of_no_change_are_kept_from_being_small_by_many_features():
    p_values = [
        effect_changes(STUDY, weeks(seed, 0.003), weeks(seed + 500, 0.003), MODEL)[0].p_value
        for seed in range(150)
    ]
    assert np.mean(np.array(p_values) < 0.05) <= 0.11
