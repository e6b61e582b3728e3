"""What each scenario does to the rows: as it says, from the day it says, and nothing else."""

from datetime import date, timedelta

import numpy as np
import pytest

from fedrisk.errors import UsageError
from fedrisk.simulation import (
    SCENARIOS,
    UNKNOWN,
    find_scenario,
    simulate,
    simulate_site,
    study_of,
)

START, DAYS = date(2024, 3, 1), 240
CHANGE = date(2024, 7, 1)
CHANGED = np.datetime64(CHANGE)
LABEL = "cardiorespiratory_event"
EFFECT = 3 * np.log(1.0068) / 10


def cohort(scenario, site=0, **more):
    return simulate_site(site, 200, DAYS, 11, START, scenario=scenario, change=CHANGE, **more)


@pytest.fixture(scope="module")
def worlds():
    return {name: cohort(name) for name in SCENARIOS}


def before(one):
    return one.columns["date"] < CHANGED


def logit(risk):
    return np.log(risk / (1 - risk))


@pytest.mark.parametrize("name", SCENARIOS)
def test_before_the_change_the_rows_are_those_of_no_change(worlds, name):
    none, changed = worlds["none"], worlds[name]
    for column, values in none.columns.items():
        found = changed.columns[column]
        np.testing.assert_array_equal(found[before(changed)], values[before(none)])
    np.testing.assert_array_equal(changed.true_risk[before(changed)], none.true_risk[before(none)])


@pytest.mark.parametrize("name", SCENARIOS)
def test_after_the_change_the_named_features_and_no_others_differ(worlds, name):
    none, changed, scenario = worlds["none"], worlds[name], SCENARIOS[name]
    if scenario.newcomers:
        return
    numbers = [column for column, values in none.columns.items() if values.dtype.kind == "f"]
    differ = {
        column
        for column in numbers
        if not np.array_equal(none.columns[column], changed.columns[column], equal_nan=True)
    }
    assert differ == set(scenario.features)
    assert (changed.true_risk != none.true_risk).any() == (
        scenario.kind in ("prevalence", "concept", "ageing")
        or scenario.care is not None
        or scenario.length is not None
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_study_names_the_columns_of_its_cohort(worlds, name):
    assert set(worlds[name].columns) == set(study_of(name).columns)


def test_an_instrument_is_wrong_and_the_risk_is_not(worlds):
    none, firmware = worlds["none"], worlds["sensor-firmware"]
    after = ~before(none)
    for name, by in (("heart_rate", -3.5), ("sleep_hours", 0.6)):
        moved = firmware.columns[name][after] - none.columns[name][after]
        np.testing.assert_allclose(moved, by, atol=1e-9)
    np.testing.assert_array_equal(firmware.events, none.events)
    twice = cohort("sensor-firmware", size=2.0).columns["heart_rate"]
    np.testing.assert_allclose(twice[after] - none.columns["heart_rate"][after], -7.0, atol=1e-9)


def test_degrees_fahrenheit_leave_the_hard_bounds_at_one_site_alone(worlds):
    wrong = worlds["unit-error"].columns
    after = ~before(worlds["unit-error"])
    assert (wrong["body_temp"][after] > 45).all()
    expected = worlds["none"].columns["temperature"][after] * 9 / 5 + 32
    np.testing.assert_allclose(wrong["temperature"][after], expected, atol=0.0501)
    np.testing.assert_array_equal(
        cohort("unit-error", 1).columns["body_temp"], cohort("none", 1).columns["body_temp"]
    )


def test_a_feed_that_stops_leaves_empty_cells(worlds):
    missing = worlds["missing-feed"]
    for name in ("pm25", "pm10", "o3", "no2"):
        np.testing.assert_array_equal(np.isnan(missing.columns[name]), ~before(missing))


def test_smoke_and_heat_end_and_act_on_the_true_risk(worlds):
    none, smoke, heat = worlds["none"], worlds["pollution-episode"], worlds["heat-wave"]
    dates = none.columns["date"]
    during = ~before(none) & (dates < CHANGED + 21)
    ratio = smoke.columns["pm25"][during] / none.columns["pm25"][during]
    assert np.median(ratio) == pytest.approx(4.0, rel=0.01)
    assert (smoke.true_risk[during] > none.true_risk[during]).mean() > 0.99
    over = dates >= CHANGED + 21
    np.testing.assert_array_equal(smoke.columns["pm25"][over], none.columns["pm25"][over])
    warm = ~before(none) & (dates < CHANGED + 14)
    warmer = heat.columns["temperature"][warm] - none.columns["temperature"][warm]
    np.testing.assert_allclose(warmer, 8.0, atol=0.1001)


def test_the_effect_of_fine_particles_doubles(worlds):
    none, changed = worlds["none"], worlds["concept-change"]
    added = logit(changed.true_risk) - logit(none.true_risk)
    expected = np.where(before(none), 0.0, EFFECT * none.columns["pm25"])
    np.testing.assert_allclose(added, expected, atol=1e-9)


def test_odds_rise_at_once_in_an_epidemic_and_fall_slowly_as_care_gets_better(worlds):
    none = worlds["none"]
    after = ~before(none)
    risen = logit(worlds["prevalence-change"].true_risk) - logit(none.true_risk)
    np.testing.assert_allclose(risen[after], np.log(1.6), atol=1e-9)
    fallen = logit(worlds["slow-ageing"].true_risk) - logit(none.true_risk)
    years = (none.columns["date"] - CHANGED).astype(float) / 365.25
    np.testing.assert_allclose(fallen[after], (10 * np.log(1 - 0.0379) * years)[after], atol=1e-9)


def test_newcomers_are_older_and_walk_less_and_those_who_left_are_gone(worlds):
    changed = worlds["population-change"]
    columns, early = changed.columns, before(changed)
    old, new = set(columns["person"][early]), set(columns["person"][~early])
    arrived = np.isin(columns["person"], sorted(new - old))
    stayed = ~early & ~arrived
    assert len(new - old) > 50
    assert 0.3 < len(old & new) / len(old) < 0.7
    assert np.nanmean(columns["age"][arrived]) > np.nanmean(columns["age"][stayed]) + 3
    assert np.median(columns["steps"][arrived]) < 0.65 * np.median(columns["steps"][stayed])
    assert columns["heart_rate"][arrived].mean() > columns["heart_rate"][stayed].mean() + 3


def test_delayed_outcomes_are_unknown_until_they_are_reported(worlds):
    none, delayed = worlds["none"], worlds["label-delay"]
    np.testing.assert_array_equal(delayed.events, none.events)
    late = np.where(before(none), np.timedelta64(0, "D"), np.timedelta64(60, "D"))
    np.testing.assert_array_equal(delayed.known_on, none.known_on + late)
    unknown = delayed.columns[LABEL] == UNKNOWN
    last = np.datetime64(START + timedelta(days=DAYS - 1))
    np.testing.assert_array_equal(unknown, delayed.columns["date"] > last - 60)
    assert not (none.columns[LABEL] == UNKNOWN).any()


def test_care_lowers_the_risk_of_those_whom_somebody_acted_on(worlds):
    none, treated = worlds["none"], worlds["label-contamination"]
    acted = treated.columns["acted_on_score"] == 1
    np.testing.assert_array_equal(treated.untreated_risk, none.true_risk)
    eligible = ~before(none) & (none.true_risk >= 0.04)
    assert not acted[~eligible].any()
    assert acted[eligible].mean() == pytest.approx(0.9, abs=0.02)
    lowered = logit(treated.true_risk) - logit(treated.untreated_risk)
    np.testing.assert_allclose(lowered, np.where(acted, 3 * np.log(0.7), 0.0), atol=1e-9)


def test_the_score_that_is_acted_on_may_be_given():
    def by_age(columns):
        return np.where(np.nan_to_num(columns["age"]) > 70, 0.5, 0.0)

    columns = cohort("label-contamination", score=by_age).columns
    acted = columns["acted_on_score"] == 1
    assert acted.any()
    assert (columns["age"][acted] > 70).all()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"change": date(2023, 1, 1)}, "change"),
        ({"size": -1.0}, "size"),
        ({"size": float("inf")}, "size"),
        ({"scenario": "unit-error", "size": 2.0}, "unit-error"),
    ],
)
def test_changes_without_meaning_are_refused_before_anything_is_simulated(wrong, named):
    with pytest.raises(UsageError, match=named):
        simulate(1, 1, 10, 0, START, **({"scenario": "concept-change"} | wrong))


def test_each_scenario_is_found_by_its_name_and_says_what_changes():
    for name in SCENARIOS:
        assert find_scenario(name).name == name
        assert find_scenario(name).description.endswith(".")


def test_an_unknown_name_lists_the_scenarios():
    with pytest.raises(UsageError, match="'heat-dome'") as caught:
        find_scenario("heat-dome")
    assert "concept-change" in caught.value.hint
