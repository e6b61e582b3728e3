"""Data faults are found in whole and in part, and what the world does is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from watched_world import WEEK, day

from fedrisk.models.bins import feature_edges
from fedrisk.monitoring.label_quality import (
    is_labelled,
    is_mature,
    label_faults,
    poisson_at_most,
)
from fedrisk.monitoring.outcomes import outcomes_of
from fedrisk.monitoring.quality import contradictions, feature_faults
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.monitoring.units import BinnedColumn, bin_centres, suspected_units
from fedrisk.study import NumberFeature, builtin_study

RULES = VerdictRules()
FEATURES = {f.name: f for f in builtin_study("air-wearables").numbers}


def column(feature: NumberFeature, values) -> BinnedColumn:
    low, high = feature.limits
    inside = values[(values >= low) & (values <= high)]
    edges = feature_edges(feature)
    counts = np.bincount(np.searchsorted(edges, inside, side="right"), minlength=len(edges) + 1)
    return BinnedColumn(counts.astype(float), float(len(values) - len(inside)))


def faults_in(world, shift, week=60, site="site-1"):
    (window,) = (w for w in world.windows(week, week + 1, shift) if w.site == site)
    year = world.reference.of(site)
    season = world.reference.of(site, window.season)
    return feature_faults(world.study, year, season, window.profile, RULES)


def test_a_year_without_a_fault_has_none(world):
    for window in world.windows(52, 104):
        year = world.reference.of(window.site)
        season = world.reference.of(window.site, window.season)
        assert feature_faults(world.study, year, season, window.profile, RULES) == ()


@pytest.mark.parametrize("week", [54, 66, 80, 93])
@pytest.mark.parametrize(
    ("feature", "factor", "offset", "unit"),
    [
        ("temperature", 1.8, 32.0, "degF"),
        ("body_temp", 1.8, 32.0, "degF"),
        ("body_temp", 1.0, 273.15, "K"),
        ("sleep_hours", 60.0, 0.0, "min"),
        ("humidity", 0.01, 0.0, "fraction of 1"),
        ("respiratory_rate", 1 / 60, 0.0, None),
        ("steps", 1e-3, 0.0, None),
        ("pm25", 1e-3, 0.0, None),
    ],
)
def test_a_column_in_another_unit_is_found_in_every_season(
    world, week, feature, factor, offset, unit
):
    found = faults_in(world, lambda c: {feature: c[feature] * factor + offset}, week)
    assert [fault.subject for fault in found] == [feature]
    if unit is not None:
        assert found[0].kind in ("unit", "outside")
        assert found[0].kind == "outside" or unit in found[0].sentence


@pytest.mark.parametrize("part", [0.2, 0.5])
def test_some_rows_in_another_unit_are_found(world, part):
    def shift(columns):
        values = columns["body_temp"]
        wrong = np.random.default_rng(1).random(len(values)) < part
        return {"body_temp": np.where(wrong, values * 1.8 + 32, values)}

    assert [fault.subject for fault in faults_in(world, shift)] == ["body_temp"]


@pytest.mark.parametrize(
    ("gone", "kinds"), [(0.3, ["missing", "unit"]), (0.96, ["lost feed"]), (0.1, ["unit"])]
)
def test_what_is_left_of_a_column_is_looked_at_unless_the_feed_is_lost(world, gone, kinds):
    def shift(columns):
        values = columns["body_temp"] * 1.8 + 32
        kept = np.arange(len(values)) >= gone * len(values)
        return {"body_temp": np.where(kept, values, np.nan)}

    found = faults_in(world, shift)
    assert [fault.kind for fault in found] == kinds
    assert [fault.share for fault in found if fault.kind == "unit"] == [
        pytest.approx(1 - gone, abs=0.02)
    ] * ("unit" in kinds)


@pytest.mark.parametrize(
    "shift",
    [
        lambda c: {"temperature": c["temperature"] + 8},
        lambda c: {"temperature": c["temperature"] - 12},
        lambda c: {"pm25": c["pm25"] * 6, "pm10": c["pm10"] * 6},
        lambda c: {"pm25": c["pm25"] * 0.3},
        lambda c: {"no2": c["no2"] * 1.88},
        lambda c: {"steps": c["steps"] * 0.3},
        lambda c: {"heart_rate": c["heart_rate"] + 20},
        lambda c: {"age": np.where(np.arange(len(c["age"])) % 10 == 0, np.nan, c["age"])},
    ],
)
@pytest.mark.parametrize("week", [54, 66, 80, 93])
def test_what_the_world_or_a_device_may_do_is_no_fault(world, shift, week):
    assert faults_in(world, shift, week) == ()


@given(st.floats(-5, 30), st.floats(1, 8), st.integers(0, 2**32 - 1))
def test_fahrenheit_is_told_from_celsius_wherever_the_climate_is(mean, spread, seed):
    feature, random = FEATURES["temperature"], np.random.default_rng(seed)
    reference, now = (column(feature, random.normal(mean, spread, 2000)) for _ in range(2))
    wrong = column(feature, 1.8 * random.normal(mean, spread, 500) + 32)
    assert suspected_units(feature, reference, reference, now) == ()
    assert "degF" in suspected_units(feature, reference, reference, wrong)


def test_a_winter_in_fahrenheit_is_told_where_summers_are_as_warm():
    feature, random = FEATURES["temperature"], np.random.default_rng(3)
    winter, summer = random.normal(0, 2, 2000), random.normal(30, 4, 2000)
    season, year = column(feature, winter), column(feature, np.concatenate([winter, summer]))
    wrong, warm = (random.normal(mean, 3.0, 500) for mean in (32, 16))
    assert suspected_units(feature, season, year, column(feature, wrong)) == ("degF",)
    assert suspected_units(feature, season, year, column(feature, warm)) == ()


def test_an_empty_column_is_in_no_unit():
    feature = FEATURES["pm25"]
    nothing = column(feature, np.zeros(0))
    something = column(feature, np.full(100, 20.0))
    assert suspected_units(feature, nothing, nothing, something) == ()
    assert suspected_units(feature, something, something, nothing) == ()


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
def test_a_value_lies_within_half_a_bin_of_its_centre(feature):
    edges = feature_edges(feature)
    values = np.random.default_rng(0).uniform(edges[0], edges[-1], 200)
    places = np.searchsorted(edges, values, side="right")
    width = edges[1] - edges[0]
    assert np.abs(bin_centres(feature)[places] - values).max() <= width / 2 * 1.001


def profile_with(world, **changes):
    return replace(world.windows(60, 61)[0].profile, **changes)


def test_labels_may_not_contradict_themselves(world):
    profile = profile_with(world)
    assert contradictions(profile) == ""
    assert "more events" in contradictions(profile_with(world, events=profile.labelled + 1))
    assert "negative" in contradictions(profile_with(world, events=profile.events - 1))
    assert "not finite" in contradictions(profile_with(world, labelled=profile.labelled * np.nan))
    one = np.where(np.arange(194) == 100, np.nan, profile.events)
    assert "not finite" in contradictions(profile_with(world, events=one))
    many = profile.labelled * 3
    assert "labels for" in contradictions(profile_with(world, labelled=many))


def test_there_are_at_most_as_many_labels_as_rows(world):
    profile = profile_with(world)
    full = profile.labelled * profile.rows / profile.labelled.sum()
    assert contradictions(profile_with(world, labelled=full)) == ""
    assert "labels for" in contradictions(profile_with(world, labelled=full * 1.01))


def alike(profile, share, rows=500.0):
    """A profile whose PM2.5 has this share of its values in one bin, the rest as before."""
    counts = profile.numbers["pm25"]
    rest = counts * (1 - share) / counts.sum()
    rest[int(np.argmax(counts[1:-1])) + 1] += share
    return replace(profile, numbers={**profile.numbers, "pm25": rest * rows})


@pytest.mark.parametrize(
    ("year", "season", "now", "told"),
    [
        (0.0, 0.0, 0.99, ["stuck"]),
        (0.0, 0.0, 0.9, []),
        (0.0, 0.9, 0.99, []),
        (0.9, 0.0, 0.99, []),
        (0.4, 0.4, 0.99, ["stuck"]),
    ],
)
def test_a_column_is_stuck_where_it_never_stood_still_before(world, year, season, now, told):
    profiles = [world.reference.of("site-1"), world.reference.of("site-1", "DJF")]
    before = [alike(p, share, 9e3) for p, share in zip(profiles, (year, season), strict=True)]
    current = alike(world.windows(60, 61)[0].profile, now)
    found = feature_faults(world.study, *before, current, RULES)
    assert [fault.kind for fault in found] == told
    assert all(fault.share >= now for fault in found)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (lambda rows: rows.events, None),
        (lambda rows: rows.events & (np.arange(len(rows.events)) % 2 == 0), None),
        (lambda rows: rows.events & False, "seem to be missing"),
        (lambda rows: ~rows.events, "exchanged"),
    ],
)
def test_labels_that_cannot_be_right_are_found(world, events, told):
    windows = [w for w in world.windows(56, 60, events=events) if w.site == "site-1"]
    found = label_faults(outcomes_of(world.reference, windows), RULES)
    assert [told in fault.sentence for fault in found] == ([] if told is None else [True])


def test_labels_that_rank_backwards_are_found(world):
    def turned(rows):
        risk = world.model.risk(rows.columns)
        return np.random.default_rng(0).random(len(risk)) < np.clip(0.1 - 2 * risk, 0.0, 1.0)

    windows = world.windows(56, 64, events=turned)
    (fault,) = label_faults(outcomes_of(world.reference, windows), RULES)
    assert "turned round" in fault.sentence


@given(st.integers(0, 40), st.floats(0.01, 60))
def test_the_chance_of_so_few_events_is_a_probability_and_grows_with_them(count, mean):
    few, more = poisson_at_most(count, mean), poisson_at_most(count + 1, mean)
    assert 0 <= few <= more <= 1
    assert poisson_at_most(count, mean + 1) <= few + 1e-12


def test_labels_are_due_when_the_study_says_and_counted_when_most_are_there(world):
    window = world.windows(60, 61)[0]
    due = window.end + world.study.maturity
    assert is_mature(world.study, window, due)
    assert not is_mature(world.study, window, due - world.study.maturity)
    assert is_labelled(window, RULES)
    young = world.windows(60, 61, as_of=60 * WEEK + 3)[0]
    assert young.start == day(60 * WEEK)
    assert not is_labelled(young, RULES)
