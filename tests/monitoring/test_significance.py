"""Findings, their p-values together, persistence and importance."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.detectors import DETECTORS
from fedrisk.detectors.calibration import Finding as Look
from fedrisk.detectors.false_discovery import FalseDiscovery
from fedrisk.monitoring.finding import Finding, WindowRecord
from fedrisk.monitoring.importance import importance_of
from fedrisk.monitoring.persistence import drifted_subjects
from fedrisk.monitoring.quality import Fault
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.monitoring.significance import Baseline, _combined, examine

START = datetime(2025, 1, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def baseline(world, calibration):
    return Baseline(world.study, calibration)


def looks(*p_values):
    return [Look("psi", "pm25", "a", 0.1, 0.05, 0.5, p, "same season", 13.0) for p in p_values]


def test_p_values_of_one_subject_are_one():
    assert _combined(looks(0.2)) == pytest.approx(0.2)
    assert _combined(looks(0.01, 0.01, 0.01)) == pytest.approx(0.01)
    assert _combined(looks(None, None)) is None
    assert _combined(looks(1e-6, None)) == pytest.approx(1e-6)
    assert _combined(looks(1e-6, 1.0)) < 3e-6


@given(st.lists(st.floats(1e-12, 1.0), max_size=7), st.floats(1e-12, 1e-3))
def test_a_small_p_value_is_not_lost_among_others(others, small):
    combined = _combined(looks(small, *others))
    count = len(others) + 1
    assert min(small, *others, 1.0) * 0.99 <= combined <= 1.2 * count * small


def test_combined_p_values_of_dependent_detectors_keep_their_level():
    random = np.random.default_rng(0)
    common = random.normal(size=(20_000, 1))
    normal = np.sqrt(0.7) * common + np.sqrt(0.3) * random.normal(size=(20_000, 5))
    p = 1 - np.array(
        [0.5 * (1 + np.sign(x) * np.sqrt(1 - np.exp(-2 * x * x / np.pi))) for x in normal]
    )
    combined = np.array([_combined(looks(*row)) for row in p[:4000]])
    assert np.mean(combined < 0.01) < 0.016


def test_a_shift_is_found_where_it_is_and_not_elsewhere(world, baseline):
    windows = world.windows(60, 61, lambda c: {"steps": c["steps"] * 0.6}, sites=("site-1",))
    records, state = examine(baseline, windows, [()] * 3, FalseDiscovery(rate=0.05))
    found = {
        (w.site, f.subject)
        for w, record in zip(windows, records, strict=True)
        for f in record.findings
        if f.found
    }
    assert ("site-1", "steps") in found
    assert {site for site, _ in found} == {"site-1"}
    assert {subject for _, subject in found} <= {"steps", "score", "rows"}
    assert state.checks == 1
    (steps,) = (f for f in records[0].findings if f.subject == "steps")
    look = baseline.calibration.finding(DETECTORS[steps.detector], windows[0], "steps")
    assert (steps.statistic, steps.effect) == (look.distance, look.effect)
    assert steps.q_value < 0.05
    assert steps.effect > 1


def test_a_site_is_held_against_itself_and_an_unknown_one_against_all(world, baseline):
    whole, own = world.reference.overall().rows, world.reference.of("site-2").rows
    assert baseline.profile("site-2").rows == own < whole
    assert baseline.profile("elsewhere").rows == pytest.approx(whole)


def test_a_broken_column_is_not_tested_nor_what_is_made_of_it(world, baseline):
    fault = Fault("missing", "steps", 0.5, "steps lacks values")
    windows = world.windows(60, 61)
    records, _ = examine(baseline, windows, [(fault,), (), ()], FalseDiscovery())
    assert {f.subject for f in records[0].findings} == set(world.study.feature_names) - {"steps"}
    assert {f.subject for f in records[1].findings} >= {"steps", "score", "rows"}


def test_features_that_go_together_as_never_before_are_named(world, baseline):
    """Each lies where it did, and now one tells the other."""

    def tied(columns):
        ranks = columns["heart_rate"].argsort().argsort()
        names = ("respiratory_rate", "body_temp", "steps", "sleep_hours")
        return {name: np.sort(columns[name])[ranks] for name in names}

    windows = world.windows(60, 61, tied, sites=("site-1",))
    records, _ = examine(baseline, windows, [()] * 3, FalseDiscovery(rate=0.2, epoch=1))
    (rows,) = (f for f in records[0].findings if f.subject == "rows")
    assert rows.found
    assert re.search(
        r"correlation of \w+ and \w+ changed most, from -?0.\d+ to 1.00", rows.sentence
    )
    others = [f for record in records for f in record.findings if not f.found]
    assert others
    assert not any("correlation" in f.sentence for f in others)


def record(week, *found):
    findings = tuple(
        Finding(s, "psi", 0.2, 2.0, 1e-6, 1e-4, found=s in found, sentence="")
        for s in ("pm25", "steps")
    )
    start = START + timedelta(weeks=week)
    return WindowRecord(start, start + timedelta(weeks=1), 500.0, findings=findings)


@pytest.mark.parametrize(
    ("past", "drifted"),
    [
        ([], ()),
        ([("pm25",)], ()),
        ([("pm25",), ("pm25",)], ("pm25",)),
        ([("pm25",), (), ("pm25",)], ("pm25",)),
        ([("pm25",), ("pm25",), (), ()], ()),
        ([("pm25",), ("steps",), ("steps", "pm25")], ("pm25", "steps")),
        ([("pm25",), (), (), ("pm25",)], ()),
    ],
)
def test_drift_is_what_two_of_the_last_three_windows_have(past, drifted):
    records = [record(week, *found) for week, found in enumerate(past)]
    assert drifted_subjects(records, VerdictRules()) == drifted


def test_importance_adds_up_and_follows_the_coefficients(world):
    shares = importance_of(world.study, world.document)
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == set(world.study.feature_names)
    spreads = {name: part.std() for name, part in contributions(world).items()}
    ranked = sorted(spreads, key=spreads.__getitem__)
    assert ranked[-1] == max(shares, key=shares.__getitem__)
    total = sum(spreads.values())
    assert all(abs(shares[n] - s / total) < 0.02 for n, s in spreads.items())


def contributions(world):
    names = world.study.feature_names
    columns = {n: np.concatenate([s.columns[n] for s in world.sites]) for n in names}
    return world.model.contributions(columns)


def test_a_model_that_tells_nothing_counts_every_feature_alike(world):
    assert set(importance_of(world.study, {}).values()) == {1 / len(world.study.features)}


def test_a_window_of_a_season_without_reference_is_marked(world, baseline):
    from fedrisk.detectors.calibration import Calibration
    from fedrisk.profiles.reference import Reference

    winter = tuple(b for b in world.reference.blocks if b.season == "DJF")
    short = Baseline(world.study, Calibration(Reference(world.study.hash, winter)))
    summer = [w for w in world.windows(82, 83) if w.site == "site-1"]
    records, _ = examine(short, summer, [()], FalseDiscovery())
    assert records[0].unseen_season
    again, _ = examine(baseline, summer, [()], FalseDiscovery())
    assert not again[0].unseen_season
    assert replace(again[0], findings=()).rows == summer[0].profile.rows
