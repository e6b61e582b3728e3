"""The verdict on windows whose truth is known: shifted by hand, or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest
from watched_world import day

from fedrisk.monitoring.memory import Memory

FIRST, LAST = 53, 62


def events_by(world, extra, seed=5):
    """Events drawn anew, with something added to the model's own log-odds."""
    rng = np.random.default_rng(seed)

    def drawn(rows):
        logit = world.model.logit(rows.columns) + extra(rows.columns)
        return rng.random(len(logit)) < 1 / (1 + np.exp(-logit))

    return drawn


def test_weeks_of_another_year_are_stable_however_much_they_differ_from_its_mean(world, judged):
    verdict = judged(world.windows(FIRST, LAST))
    assert (verdict.status, verdict.severity, verdict.diagnosis) == ("stable", "none", "season")
    assert "o3" in verdict.sentences[-1]
    assert not any(each.drifted for each in verdict.per_feature.values())
    assert verdict.harm.kind == "none"
    assert verdict.sound_since is None
    measured = verdict.per_site["site-1"].performance
    assert measured.observed_expected.low < 1 < measured.observed_expected.high
    assert verdict.document()["per_site"]["site-1"]["performance"]["auroc"]["value"] > 0.6


def test_a_second_look_at_the_same_windows_changes_nothing(world, judged):
    first = judged(world.windows(FIRST, LAST))
    second = judged(world.windows(FIRST, LAST), memory=first.memory)
    assert second == first
    assert second.memory == first.memory


def test_the_memory_is_as_good_after_storage(world, judged):
    first = judged(world.windows(FIRST, LAST - 3))
    kept = Memory.from_document(json.loads(json.dumps(first.memory.document())))
    assert kept == first.memory
    later = world.windows(FIRST, LAST)
    assert judged(later, memory=kept) == judged(later, memory=first.memory)


@pytest.mark.parametrize(
    ("feature", "change", "told"),
    [
        ("temperature", lambda v: v * 1.8 + 32, "degF instead of degC"),
        ("body_temp", lambda v: v * 1.8 + 32, "degF"),
        ("body_temp", lambda v: v + 273.15, "K instead of degC"),
        ("sleep_hours", lambda v: v * 60, "min or s instead of h"),
        ("pm25", lambda v: v * np.nan, "hardly has a value"),
        ("pm25", lambda v: v * 0, "stands still"),
        ("pm25", lambda v: np.where(np.arange(len(v)) % 3 == 0, np.nan, v), "lacks values"),
        ("steps", lambda v: np.where(np.arange(len(v)) % 9 == 0, -1, v), "break the rule"),
    ],
)
def test_broken_columns_are_faults_and_no_drift(world, judged, feature, change, told):
    def shift(columns):
        return {feature: change(columns[feature])}

    windows = world.windows(FIRST, 59) + world.windows(59, LAST, shift, sites=("site-2",))
    verdict = judged(windows)
    assert (verdict.status, verdict.diagnosis) == ("quality", "quality")
    assert verdict.per_site["site-2"].status == "quality"
    assert verdict.per_site["site-1"].status != "quality"
    assert any(told in reason for reason in verdict.per_site["site-2"].reasons)
    assert verdict.sound_since == day(LAST * 7)
