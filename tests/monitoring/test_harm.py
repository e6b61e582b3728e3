"""Harm by matured labels: found where it was put, of the right kind, and nowhere else."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from watched_world import WEEK, YEAR, day

from fedrisk.detectors.score_bins import bin_logits, bin_risks
from fedrisk.monitoring.effect_change import effect_changes
from fedrisk.monitoring.harm import gathered, mean_score, measured
from fedrisk.monitoring.onset import find_onset
from fedrisk.monitoring.outcomes import moved, outcomes_of, usual_shift
from fedrisk.monitoring.performance import performance
from fedrisk.monitoring.rules import VerdictRules

FIRST, CHANGE, LAST = 53, 58, 70
RULES = VerdictRules()


def drawn(world, extra, seed=5, change=CHANGE):
    """Events drawn anew, with something added to the model's own log-odds after the change."""
    random = np.random.default_rng(seed)

    def events(rows):
        logit = world.model.logit(rows.columns)
        logit = logit + np.where(rows.day >= change * WEEK, extra(rows), 0.0)
        return random.random(len(logit)) < 1 / (1 + np.exp(-logit))

    return events


def slope_of(world, name):
    (column,) = (
        c for c in world.document["columns"] if c["feature"] == name and c["kind"] == "value"
    )
    return column["coefficient"] / column["scale"]


def measured_of(world, extra, sites=None, last=LAST, seed=5, change=CHANGE):
    windows = world.windows(FIRST, last, sites=sites, events=drawn(world, extra, seed, change))
    # The model is right by construction, so nothing of its own misfit is to be taken off.
    outcomes = outcomes_of(world.reference, windows)
    evidence = gathered(world.reference, outcomes, {}, RULES)
    return measured(world.study, world.reference, outcomes, evidence, world.document, RULES)


def test_another_year_shows_no_harm(world):
    outcomes = outcomes_of(world.reference, world.windows(52, 104))
    evidence = gathered(world.reference, outcomes, {}, RULES)
    found = measured(world.study, world.reference, outcomes, evidence, world.document, RULES)
    assert (found.harm.kind, found.cause, found.sites) == ("none", "none", ())
    assert 0.9 < found.harm.figures["observed_expected"] < 1.1


@pytest.mark.parametrize(
    ("extra", "cause"),
    [
        (lambda _world, _rows: 0.5, "prevalence"),
        (lambda _world, _rows: -0.6, "prevalence"),
        (lambda world, rows: 1.2 * (world.model.logit(rows.columns) + 3.9), "calibration"),
    ],
)
def test_what_changed_is_told_and_since_when(world, extra, cause):
    found = measured_of(world, lambda rows: extra(world, rows))
    assert (found.harm.kind, found.cause, found.sites) == ("measured", cause, ())
    assert abs(found.harm.since - day(CHANGE * WEEK)) <= timedelta(weeks=2)


def test_a_change_of_all_sites_is_not_laid_to_the_first_that_show_it(world):
    """Windows from before the change must not hide it where the evidence still grows."""
    found = [
        measured_of(world, lambda _rows: 0.5, last=66 + weeks, seed=seed, change=66)
        for weeks in (3, 4, 5)
        for seed in (1, 2, 3, 4)
    ]
    assert any(each.harm.kind == "measured" for each in found)
    assert {each.sites for each in found} == {()}


def test_a_changed_effect_is_told_with_its_feature(world):
    slope = slope_of(world, "pm25")
    found = measured_of(world, lambda rows: 3 * slope * rows.columns["pm25"], last=80)
    assert (found.harm.kind, found.cause) == ("measured", "concept")
    assert "more pm25 have more events" in found.harm.sentences[-1]


def test_scores_that_lost_their_meaning_are_a_changed_concept(world):
    found = measured_of(world, lambda rows: -world.model.logit(rows.columns) - 3.6)
    assert (found.harm.kind, found.cause) == ("measured", "concept")
    assert found.harm.figures["auroc"] < 0.62


def test_a_change_that_grows_is_ageing(world):
    def growing(rows):
        return -(rows.day - CHANGE * WEEK) / 364 * 1.6

    found = measured_of(world, growing, last=100)
    assert (found.harm.kind, found.cause) == ("measured", "ageing")


def test_an_episode_is_harm_until_it_has_passed(world):
    def for_two_weeks(rows):
        return np.where(rows.day < (CHANGE + 2) * WEEK, 0.9, 0.0)

    during = measured_of(world, for_two_weeks, last=CHANGE + 2)
    assert (during.harm.kind, during.cause) == ("measured", "prevalence")
    after = measured_of(world, for_two_weeks, last=CHANGE + 8)
    assert (after.harm.kind, after.cause, after.sites) == ("none", "none", ())
    assert after.harm.sentences[0].startswith(f"from {day(CHANGE * WEEK):%Y-%m-%d} to ")
    assert "has passed" in after.harm.sentences[0]
    # What comes back is harm again.
    again = measured_of(
        world,
        lambda rows: (
            np.where(rows.day < (CHANGE + 2) * WEEK, 0.9, 0.0)
            + np.where(rows.day >= (CHANGE + 8) * WEEK, 0.9, 0.0)
        ),
        last=CHANGE + 12,
    )
    assert again.harm.kind == "measured"


def test_a_changed_effect_has_not_passed_because_its_feature_is_away(world):
    """Particles come and go; what they do is another thing than it was."""
    slope = slope_of(world, "pm25")

    def while_there_are_particles(rows):
        there = (rows.day < (CHANGE + 16) * WEEK) | (rows.day >= (CHANGE + 20) * WEEK)
        return np.where(there, 3 * slope * rows.columns["pm25"], 0.0)

    found = measured_of(world, while_there_are_particles, last=CHANGE + 20)
    assert (found.harm.kind, found.cause) == ("measured", "concept")


def test_harm_at_one_site_is_that_sites(world):
    found = measured_of(world, lambda _rows: 0.7, sites=("site-3",))
    assert found.harm.kind == "measured"
    assert found.sites == ("site-3",)


def test_harm_is_laid_to_no_site_where_no_other_has_windows_since(world):
    """Nobody shows then that the world stayed as it was."""
    events = drawn(world, lambda _rows: 0.7)
    windows = [w for w in world.windows(FIRST, LAST, events=events) if w.site == "site-3"]
    windows += [w for w in world.windows(FIRST, CHANGE - 3) if w.site != "site-3"]
    outcomes = outcomes_of(world.reference, windows)
    evidence = gathered(world.reference, outcomes, {}, RULES)
    found = measured(world.study, world.reference, outcomes, evidence, world.document, RULES)
    assert (found.harm.kind, found.sites) == ("measured", ())


def test_the_mean_score_is_that_of_the_training_rows(world):
    rows = [rows.where(rows.day < YEAR) for rows in world.sites]
    logits = np.concatenate([world.model.logit(each.columns) for each in rows])
    assert mean_score(world.reference) == pytest.approx(np.nanmean(logits), abs=0.01)


def test_few_events_are_no_judgement(world):
    outcomes = outcomes_of(world.reference, world.windows(53, 54))[:1]
    found = measured(world.study, world.reference, outcomes, {}, world.document, RULES)
    assert found.harm.kind == "unknown"
    assert "too few" in found.harm.sentences[0]
    none = measured(world.study, world.reference, [], {}, world.document, RULES)
    assert none.harm.kind == "unknown"


def test_evidence_adds_up_however_windows_come(world):
    outcomes = outcomes_of(world.reference, world.windows(53, 57))
    whole = gathered(world.reference, outcomes, {}, RULES)
    parts: dict = {}
    for week in range(53, 57):
        new = [each for each in outcomes if each.start == day(week * WEEK)]
        parts = gathered(world.reference, new, parts, RULES)
    assert parts == whole
    assert set(whole) == {
        "calibration",
        "calibration:site-1",
        "calibration:site-2",
        "calibration:site-3",
    }


def test_the_misfit_of_training_is_taken_off(world):
    """Over the reference itself, what is left of each season and site is less than what was."""
    raw, left = [], []
    for season in ("DJF", "MAM", "JJA", "SON"):
        blocks = world.reference.blocks_of(None, season)
        profile = world.reference.of(None, season)
        raw.append(profile.events.sum() / (profile.labelled @ bin_risks()))
        left.append(performance(outcomes_of(world.reference, blocks)).ratio)
    assert np.abs(np.log(left)).max() < 0.5 * np.abs(np.log(raw)).max()
    assert np.abs(np.log(left)).max() < 0.04


def test_an_unknown_site_has_no_shift_of_its_own(world):
    known = {usual_shift(world.reference, site, "DJF") for site in world.reference.sites}
    assert usual_shift(world.reference, "elsewhere", "DJF") not in known
    assert abs(usual_shift(world.reference, "elsewhere", "DJF")) < 0.3


@pytest.mark.parametrize("by", [-0.4, -0.01, 0.0, 0.03, 0.125, 1.0])
def test_moved_counts_keep_their_rows_and_move_their_mean(by):
    counts = np.zeros(194)
    counts[60:120] = np.random.default_rng(0).integers(0, 50, 60)
    after = moved(counts, by)
    assert after.sum() == pytest.approx(counts.sum())
    mean = counts @ bin_logits() / counts.sum()
    assert after @ bin_logits() / after.sum() == pytest.approx(mean + by)


def test_effects_that_did_not_change_are_not_told(world):
    before = outcomes_of(world.reference, world.reference.blocks)
    for seed in range(3):
        windows = world.windows(52, 104, events=drawn(world, lambda _rows: 0.0, seed))
        now = outcomes_of(world.reference, windows)
        changes = effect_changes(world.study, before, now, world.document)
        assert len(changes) == len(world.study.numbers)
        assert changes[0].p_value > 0.01


def test_the_onset_is_where_the_step_was(world):
    windows = world.windows(FIRST, LAST, events=drawn(world, lambda _rows: 0.8))
    onset = find_onset(outcomes_of(world.reference, windows), mean_score(world.reference))
    assert abs(onset.start - day(CHANGE * WEEK)) <= timedelta(weeks=1)
    assert not onset.gradual
