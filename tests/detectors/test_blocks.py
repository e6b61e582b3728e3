"""Which blocks are compared: the same time of the year, two weeks apart; else as long before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from detectors.world import FIRST, STUDY, reference, site_windows

from fedrisk.detectors import DETECTORS
from fedrisk.detectors.block_distances import block_distances
from fedrisk.detectors.blocks import BALANCE, GAP, HALF_SEASON, LONGEST_LAG, Blocks, span_of
from fedrisk.profiles.reference import Reference, merge


def week(number: int, weeks: int = 1):
    one = site_windows(0, 1)[0]
    start = FIRST + timedelta(weeks=number)
    return replace(one, start=start, end=start + timedelta(weeks=weeks))


@pytest.fixture(scope="module")
def two_years():
    return Blocks(reference(0, 104), "site-0")


def test_a_window_is_compared_with_its_time_of_the_year_in_every_year(two_years):
    chosen = np.flatnonzero(two_years.season_around(span_of(week(104 + 20))))
    assert set(chosen % 52) <= set(range(20 - 7, 20 + 8))
    assert len(chosen) >= 24


def test_the_year_is_round(two_years):
    chosen = np.flatnonzero(two_years.season_around(span_of(week(104))))
    assert {0, 51, 52, 101} <= set(chosen)
    assert not {102, 103} & set(chosen)


def test_a_block_is_not_compared_with_its_neighbours(two_years):
    groups = two_years.groups(1)
    days = two_years.spans.middles
    for middle, row in zip(groups.spans.middles, groups.comparison, strict=True):
        away = np.abs(days[row] - middle)
        assert away.min() >= GAP + 7
        year = np.minimum(away % 365.25, 365.25 - away % 365.25)
        assert year.max() <= HALF_SEASON


def test_comparisons_have_the_window_in_their_middle(two_years):
    groups = two_years.groups(1)
    assert len(groups.members) > 90
    for middle, row in zip(groups.spans.middles, groups.comparison, strict=True):
        offsets = (two_years.spans.middles[row] - middle + 182.6) % 365.25 - 182.6
        assert abs(offsets.mean()) <= BALANCE


def test_a_long_window_has_a_longer_season(two_years):
    """Twelve weeks: six to either side of the middle, and a month beyond."""
    span = span_of(week(104 + 20, weeks=12))
    days = two_years.spans.middles[two_years.season_around(span)]
    offsets = (days - span.middles[0] + 182.625) % 365.25 - 182.625
    assert 65 < np.abs(offsets).max() <= 72
    assert len(days) >= 40


def test_a_longer_window_is_held_against_as_many_consecutive_blocks(two_years):
    assert two_years.size_of(week(104, weeks=4)) == 4
    groups = two_years.groups(4)
    assert (groups.members.sum(axis=1) == 4).all()
    assert not (groups.members & groups.comparison).any()


def test_a_week_without_rows_interrupts_a_run():
    blocks = tuple(b for n, b in enumerate(site_windows(0, 52, site="one")) if n != 10)
    members = Blocks(Reference(STUDY.hash, blocks), "one").groups(2).members
    assert not any(row[9] and row[10] for row in members)


def test_half_a_year_does_not_hold_the_season_after_it():
    blocks = Blocks(reference(0, 26), "site-0")
    after = span_of(week(30))
    assert blocks.season_around(after) is None
    lag = blocks.lag_of(after)
    assert lag == pytest.approx(5 * 7)
    before = np.flatnonzero(blocks.season_before(after, lag)[0])
    assert before.max() == 25
    for own, row in zip(*(g for g in _pairs(blocks, lag)), strict=True):
        assert np.flatnonzero(row).max() == own - 5


def test_a_window_long_after_the_last_block_is_held_against_nothing():
    """Half a year is the most, and what does not lie after the last block has no lag."""
    blocks = Blocks(reference(0, 26), "site-0")
    assert blocks.lag_of(span_of(week(51))) == LONGEST_LAG == 182
    assert blocks.lag_of(span_of(week(52))) is None
    assert blocks.lag_of(span_of(week(25))) is None


def test_blocks_with_less_than_half_a_season_before_them_are_left_out():
    groups = Blocks(reference(0, 40), "site-0").groups(1, 35.0)
    compared = groups.comparison.sum(axis=1)
    assert compared.max() == 13
    assert compared.min() == 7


def test_strata_are_all_groups_or_those_of_each_season(two_years):
    groups = two_years.groups(1)
    (every,) = groups.strata(by_season=False)
    assert every.all()
    seasons = groups.strata(by_season=True)
    assert (np.sum(seasons, axis=0) == 1).all()
    months = groups.spans.middles.astype("datetime64[D]").astype("datetime64[M]").astype(int) % 12
    assert [set(months[rows] + 1) for rows in seasons] == [
        {12, 1, 2},
        {3, 4, 5},
        {6, 7, 8},
        {9, 10, 11},
    ]


def _pairs(blocks, lag):
    groups = blocks.groups(1, lag)
    return groups.members.argmax(axis=1), groups.comparison


def test_sites_together_add_up_week_by_week():
    known = reference(0, 8, sites=2)
    together, one = Blocks(known, None), Blocks(known, "site-0")
    assert len(together) == len(one) == 8
    assert together.profiles[0].rows == 2 * one.profiles[0].rows
    assert together.people[0] == 120
    seldom = (replace(each, days=2.0) if each.site == "site-0" else each for each in known.blocks)
    assert set(Blocks(replace(known, blocks=tuple(seldom)), None).days) == {7}


@pytest.mark.parametrize("name", ["wasserstein", "psi", "covariance_shift"])
def test_the_fast_way_is_the_plain_one(name, two_years):
    detector = DETECTORS[name]
    subject = detector.subjects(STUDY)[0]
    groups = two_years.groups(3)
    fast = block_distances(detector, subject, two_years)
    found = fast.between(groups)
    for place in (0, len(found) // 2, len(found) - 1):
        compared, own = (
            merge(two_years.profiles[block] for block in np.flatnonzero(chosen[place]))
            for chosen in (groups.comparison, groups.members)
        )
        distance, noise = fast.of(own, groups.comparison[place])
        assert distance == pytest.approx(detector.distance(compared, own, subject))
        assert found[place] == pytest.approx(distance + noise)
