"""When a departure began and whether it has ended, on counts whose truth is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.detectors.score_bins import bin_logits, bin_risks
from fedrisk.monitoring.onset import Episode, find_episode, find_onset
from fedrisk.monitoring.outcomes import Outcomes
from fedrisk.profiles.profile import Profile
from fedrisk.study import builtin_study

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = timedelta(weeks=1)
PROFILE = Profile.empty(builtin_study("air-wearables"))
SPLIT = -3.0


def windows(ratios: list[float], size: float = 400.0) -> list[Outcomes]:
    """Windows with so many times the events that were expected; ``size`` rows in each bin."""
    labelled = np.where(np.abs(bin_logits() - SPLIT) < 2.0, size, 0.0)
    return [
        Outcomes(
            "a", BEGIN + n * WEEK, BEGIN + (n + 1) * WEEK, "DJF", labelled,
            labelled * bin_risks() * ratio, PROFILE,
        )
        for n, ratio in enumerate(ratios)
    ]  # fmt: skip


@given(
    before=st.integers(0, 8),
    length=st.integers(1, 4),
    calm=st.integers(3, 8),
    ratio=st.sampled_from([0.5, 1.5, 2.0]),
)
@settings(max_examples=60, deadline=None)
def test_an_episode_is_found_from_its_first_window_to_its_last(before, length, calm, ratio):
    found = find_episode(windows([1.0] * before + [ratio] * length + [1.0] * calm), SPLIT)
    assert found == Episode(BEGIN + before * WEEK, BEGIN + (before + length) * WEEK)


@pytest.mark.parametrize("calm", [0, 1, 2])
def test_an_end_wants_three_windows_after_it(calm):
    made = windows([1.0] * 4 + [1.6] * 3 + [1.0] * calm)
    assert find_episode(made, SPLIT) is None
    assert find_onset(made, SPLIT).start == BEGIN + 4 * WEEK


def test_few_events_prove_no_end():
    course = [1.0] * 4 + [1.6] * 3 + [1.0] * 3
    assert find_episode(windows(course), SPLIT) is not None
    assert find_episode(windows(course, size=1.0), SPLIT) is None


def test_what_lasts_or_grows_has_no_end():
    assert find_episode(windows([1.0] * 4 + [1.5] * 8), SPLIT) is None
    growing = windows([1.0 + 0.08 * n for n in range(12)])
    assert find_onset(growing, SPLIT).gradual
    assert find_episode(growing, SPLIT) is None


def test_chance_ends_a_lasting_change_seldom():
    """Events drawn by chance at a rate that stays: an end is told in fewer than one of ten."""
    random = np.random.default_rng(3)
    ended = 0
    for _ in range(100):
        made = windows([1.0] * 4 + [1.4] * 8, size=30.0)
        drawn = [
            Outcomes(
                each.site, each.start, each.end, each.season, each.labelled,
                random.poisson(each.events).astype(float), each.profile,
            )
            for each in made
        ]  # fmt: skip
        ended += find_episode(drawn, SPLIT) is not None
    assert ended < 10
