"""Harm without labels: claimed where scores tell it, refused where their meaning is in doubt."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from detectors.score_worlds import counted, draw, draw_with_prevalence

from fedrisk.detectors.sequential import CalibrationEvidence
from fedrisk.monitoring.estimated_harm import estimated_harm
from fedrisk.monitoring.harm import TOGETHER
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.site_window import SiteWindow

START = datetime(2024, 1, 1, tzinfo=UTC)
RULES = VerdictRules()


def window(site: str, week: int, drawn, *, labelled: bool) -> SiteWindow:
    start = START + timedelta(weeks=week)
    profile = counted(*drawn, labelled=labelled)
    return SiteWindow(site, start, start + timedelta(weeks=1), profile, 500.0, 7.0)


@pytest.fixture(scope="module")
def reference() -> Reference:
    """A winter of weeks, and a summer in which scores spread less, as every summer."""
    winter = [window("a", week, draw(3000, week), labelled=True) for week in range(8)]
    summer = [window("a", week, draw(3000, week, sd=0.6), labelled=True) for week in range(24, 32)]
    return Reference("study", (*winter, *summer))


def current(week: int, **change) -> list[SiteWindow]:
    return [window("a", week + n, draw(4000, 90 + n, **change), labelled=False) for n in range(3)]


def test_scores_that_tell_people_less_apart_are_harm_by_estimate(reference):
    found = estimated_harm(reference, current(52, sd=0.6), {}, RULES)
    assert found.kind == "estimated"
    assert found.figures["estimated_auroc_loss"] > RULES.estimated_auroc_loss
    assert "if a score still means what it did" in found.sentences[0]


def test_the_same_scores_are_no_harm_in_a_season_that_always_has_them(reference):
    found = estimated_harm(reference, current(52 + 26, sd=0.6), {}, RULES)
    assert found.kind == "unknown"
    assert abs(found.figures["estimated_auroc_loss"]) < 0.03


def test_nothing_estimated_is_not_called_no_harm(reference):
    found = estimated_harm(reference, current(52), {}, RULES)
    assert found.kind == "unknown"
    assert "labels are not known yet" in found.sentences[0]


@pytest.mark.parametrize(
    ("rows", "sd"), [(100, 0.6), (40_000, 1.05)], ids=["large and unsure", "sure and small"]
)
def test_a_loss_has_to_be_large_and_sure(reference, rows, sd):
    weeks = [window("a", 52 + n, draw(rows, 90 + n, sd=sd), labelled=False) for n in range(3)]
    found = estimated_harm(reference, weeks, {}, RULES)
    assert found.kind == "unknown"
    assert "labels are not known yet" in found.sentences[0]
    assert found.figures["estimated_auroc_loss"] > 0.02


def test_a_reference_without_scores_knows_no_loss():
    bare = window("a", 0, draw(3000, 1), labelled=False)
    bare = replace(bare, profile=replace(bare.profile, scores=np.zeros(194)))
    found = estimated_harm(Reference("study", (bare,)), current(52), {}, RULES)
    assert (found.kind, found.figures["estimated_auroc_loss"]) == ("unknown", None)


def test_earlier_labels_against_the_scores_forbid_an_estimate(reference):
    rows = current(52)[0].profile.scores
    watch = CalibrationEvidence.start(-2.5).after_counts(rows, np.minimum(rows, 0.5 * rows))
    found = estimated_harm(reference, current(52, sd=0.6), {TOGETHER: watch.document()}, RULES)
    assert found.kind == "unknown"
    assert "nothing can be said" in found.sentences[0]
    assert "evidence of earlier labels" in found.sentences[1]


def test_a_shift_of_the_labels_forbids_an_estimate(reference):
    shifted = [
        window("a", 52 + n, draw_with_prevalence(4000, n, 0.3), labelled=False) for n in range(3)
    ]
    found = estimated_harm(reference, shifted, {}, RULES)
    assert found.kind == "unknown"
    assert "labels alone" in found.sentences[1]


def test_each_sites_last_windows_count(reference):
    """Old windows are not what the model does now."""
    old = [replace(each, start=each.start - timedelta(weeks=8)) for each in current(44)]
    found = estimated_harm(reference, [*current(52, sd=0.6), *old], {}, RULES)
    assert found.kind == "estimated"
    assert found.figures["rows"] == 12_000


def test_a_site_that_the_reference_lacks_is_held_against_all(reference):
    unknown = [replace(each, site="new") for each in current(52, sd=0.4)]
    assert estimated_harm(reference, unknown, {}, RULES).kind == "estimated"


def test_no_windows_and_few_scores_say_nothing(reference):
    assert estimated_harm(reference, [], {}, RULES).kind == "unknown"
    few = [window("a", 52, draw(9, 1), labelled=False)]
    assert estimated_harm(reference, few, {}, RULES).figures == {}
