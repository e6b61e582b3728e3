"""The verdict on windows whose truth is known: shifted by hand, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace

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


def test_a_drifted_feature_is_told_with_its_numbers_and_its_site(world, judged):
    windows = world.windows(59, LAST, lambda c: {"steps": c["steps"] * 0.6}, sites=("site-1",))
    verdict = judged(windows)
    assert (verdict.status, verdict.diagnosis) == ("drift", "site out of line")
    assert verdict.sites_out_of_line == ("site-1",)
    steps = verdict.per_feature["steps"]
    assert (steps.drifted, steps.site) == (True, "site-1")
    assert steps.q_value < 0.05
    assert verdict.per_site["site-1"].drifted
    assert not verdict.per_site["site-2"].drifted
    assert json.loads(json.dumps(verdict.document()))["verdict"] == "drift"
    gone = [w for w in world.windows(LAST, LAST + 1) if w.site != "site-1"]
    later = judged(gone, memory=verdict.memory)
    assert later.status == "monitor"
    assert later.per_site["site-1"].status == "insufficient evidence"


def test_drift_everywhere_is_the_worlds(world, judged):
    verdict = judged(world.windows(59, LAST, lambda c: {"steps": c["steps"] * 0.6}))
    assert (verdict.status, verdict.diagnosis) in (("drift", "covariate"), ("harm", "covariate"))
    assert verdict.sites_out_of_line == ()


def test_drift_of_what_the_model_hardly_uses_is_noted_alone(world, judged):
    columns = [
        column | {"coefficient": 1e-6} if column["feature"] == "steps" else column
        for column in world.document["columns"]
    ]
    windows = world.windows(59, LAST, lambda c: {"steps": c["steps"] * 0.8})
    windows = [replace(w, profile=replace(w.profile, scores=w.profile.scores * 0)) for w in windows]
    verdict = judged(windows, model=world.document | {"columns": columns})
    assert not verdict.per_feature["steps"].drifted
    assert any("hardly uses" in sentence for sentence in verdict.sentences)


def test_events_that_became_more_common_are_harm(world, judged):
    windows = world.windows(FIRST, LAST, events=events_by(world, lambda _columns: 0.7))
    verdict = judged(windows)
    assert (verdict.status, verdict.diagnosis) == ("harm", "prevalence")
    assert verdict.harm.figures["observed_expected"] > 1.5


def test_nothing_to_judge_is_insufficient_evidence(world, judged):
    assert judged([]).status == "insufficient evidence"
    other = judged(world.windows(FIRST, LAST), model={"study_hash": "e" * 64})
    assert other.status == "insufficient evidence"
    assert "eeeeeeeeeeee" in other.sentences[0]
