"""What the model was off by in training is taken off, shrunken, and moves no row away."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from detectors.score_worlds import counted, draw
from scipy.optimize import brentq

from fedrisk.detectors.score_bins import bin_logits, bin_risks
from fedrisk.models.logistic import expit
from fedrisk.monitoring.outcomes import SHRUNK_BY, moved, outcomes_of, usual_shift
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.site_window import SiteWindow

WINTER = datetime(2025, 1, 6, tzinfo=UTC)
SUMMER = datetime(2025, 7, 7, tzinfo=UTC)


def window(site, start, drawn, *, labelled=True) -> SiteWindow:
    profile = counted(*drawn, labelled=labelled)
    return SiteWindow(site, start, start + timedelta(weeks=1), profile, 100.0, 7.0)


BLOCKS = (
    window("a", WINTER, draw(2000, 1, shift=0.6)),
    window("a", SUMMER, draw(3000, 2, shift=-0.3)),
    window("b", WINTER, draw(4000, 3, shift=0.1)),
)
REFERENCE = Reference("study", BLOCKS)


def ridge(blocks, start: float) -> float:
    """The shift at which the penalised score of all blocks' rows is zero."""
    labelled = sum(block.profile.labelled for block in blocks)
    events = sum(block.profile.events for block in blocks).sum()

    def score(shift):
        return events - labelled @ expit(bin_logits() + start + shift) - SHRUNK_BY * shift

    return brentq(score, -5, 5)


@pytest.mark.parametrize(
    ("site", "start", "season"),
    [("a", WINTER, "DJF"), ("a", SUMMER, "JJA"), ("new", WINTER, "DJF")],
)
def test_shifts_of_all_of_the_season_and_of_the_site_add_up(site, start, season):
    parts = [BLOCKS, [b for b in BLOCKS if b.start == start]]
    if site == "a":
        parts += [[b for b in BLOCKS if b.site == "a"]]
        parts += [[b for b in BLOCKS if b.site == "a" and b.start == start]]
    expected = 0.0
    for part in parts:
        expected += ridge(part, expected)
    assert usual_shift(REFERENCE, site, season) == pytest.approx(expected, abs=1e-9)


def test_many_events_tell_the_shift_and_few_hardly_any():
    many = Reference("study", (window("a", WINTER, draw(200_000, 1, shift=0.5)),))
    few = Reference("study", (window("a", WINTER, draw(20, 1, shift=0.5)),))
    assert usual_shift(many, "a", "DJF") == pytest.approx(0.5, abs=0.03)
    assert abs(usual_shift(few, "a", "DJF")) < 0.2


def test_outcomes_are_of_labelled_windows_in_order_with_their_scores_moved():
    late, early = (window("a", WINTER + timedelta(weeks=n), draw(500, n)) for n in (3, 2))
    bare = window("a", WINTER, draw(500, 9), labelled=False)
    found = outcomes_of(REFERENCE, [late, bare, early])
    assert [each.start for each in found] == [late.start, early.start]
    shift = usual_shift(REFERENCE, "a", "DJF")
    for each, given in zip(found, (late, early), strict=True):
        assert np.array_equal(each.labelled, moved(given.profile.labelled, shift))
        assert np.array_equal(each.events, moved(given.profile.events, shift))
        assert each.observed == pytest.approx(given.profile.events.sum())
        assert each.profile is given.profile


def test_events_vary_about_their_expectation_as_the_information_says():
    (found,) = outcomes_of(REFERENCE, [window("a", WINTER, draw(3000, 5))])
    random = np.random.default_rng(1)
    rows = np.round(found.labelled).astype(int)
    drawn = random.binomial(rows, bin_risks(), (4000, 194)).sum(axis=1)
    found = replace(found, labelled=rows.astype(float))
    assert drawn.mean() == pytest.approx(found.expected, rel=0.01)
    assert drawn.var() == pytest.approx(found.information, rel=0.1)


@pytest.mark.parametrize("by", [-30.0, -0.3, 0.3, 30.0])
def test_rows_at_the_ends_stay_at_the_ends(by):
    counts = np.zeros(194)
    counts[[0, 193]] = 5.0, 7.0
    after = moved(counts, by)
    assert after.sum() == 12
    assert after[0] >= 5 * (by < 0)
    assert after[193] >= 7 * (by > 0)
    assert (after >= 0).all()
