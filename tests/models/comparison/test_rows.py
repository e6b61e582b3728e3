"""Which rows count for what, and to which groups they belong."""

from __future__ import annotations

import numpy as np
import pytest
from compared_rows import STUDY, site_rows

from fedrisk.models.comparison import ComparedRows, group_names
from fedrisk.models.comparison.rows import LARGEST_WEIGHT, band_codes, group_memberships
from fedrisk.study import Bands


def test_groups_are_seasons_and_levels():
    assert group_names(STUDY) == (
        "all",
        "season:DJF",
        "season:MAM",
        "season:JJA",
        "season:SON",
        "sex:f",
        "sex:m",
    )


@pytest.mark.parametrize(
    ("month", "season"), [(12, 1), (1, 1), (2, 1), (3, 2), (5, 2), (6, 3), (8, 3), (9, 4), (11, 4)]
)
def test_months_belong_to_their_season(month, season):
    columns = {"x": np.zeros(1), "sex": np.array([-1], np.int32)}
    member = group_memberships(STUDY, columns, np.array([month]))[:, 0]
    assert np.flatnonzero(member).tolist() == [0, season]


def test_a_row_without_month_is_of_no_season():
    columns = {"x": np.zeros(2), "sex": np.array([0, 1], np.int32)}
    members = group_memberships(STUDY, columns, None)
    assert [np.flatnonzero(row).tolist() for row in members.T] == [[0, 5], [0, 6]]


def test_a_category_that_is_no_subgroup_makes_no_group():
    study = STUDY.model_copy(update={"subgroups": ()})
    columns = {"x": np.zeros(2), "sex": np.array([0, 1], np.int32)}
    members = group_memberships(study, columns, np.array([1, 7]))
    assert len(members) == len(group_names(study)) == 5


def test_rows_of_one_day_are_of_one_day():
    times = np.array(["2024-02-29T01:00", "2024-02-29T23:59"], "datetime64[us]")
    columns = {"x": np.zeros(2), "sex": np.array([0, 1], np.int32)}
    given = (STUDY, columns, np.ones(2, bool), np.zeros((1, 2)))
    assert len(set(ComparedRows.of(*given, times=times).days)) == 1
    assert len(set(ComparedRows.of(*given).days)) == 2


def test_times_become_days_and_months():
    times = np.array(["2024-02-29T23:59", "2024-03-01T00:00"], "datetime64[us]")
    columns = {"x": np.zeros(2), "sex": np.array([0, 1], np.int32)}
    rows = ComparedRows.of(STUDY, columns, np.ones(2, bool), np.zeros((1, 2)), times=times)
    assert rows.days[1] == rows.days[0] + 1
    assert rows.groups[1].tolist() == [True, False]
    assert rows.groups[2].tolist() == [False, True]
    assert len(set(rows.people)) == 2


def test_a_risk_at_the_limit_is_of_the_upper_band():
    bands = Bands(medium=0.2, high=0.5)
    below, at = np.nextafter(0.0, -1.0), 0.0
    assert band_codes(np.array([-9.0, below, at, 9.0]), bands).tolist() == [0, 1, 2, 2]


def test_every_row_counts_once_unless_untreated_rows_are_asked_for():
    rows = site_rows(np.random.default_rng(1), 100, treated=np.arange(100) % 2 == 0)
    assert rows.weights.tolist() == [1.0] * 100


def test_untreated_rows_stand_for_the_treated_ones_of_their_band():
    rng = np.random.default_rng(2)
    rows = site_rows(rng, 3000)
    treated = (rows.champion_bands == 2) & (rng.random(3000) < 0.6)
    asked = site_rows(np.random.default_rng(2), 3000, treated=treated, untreated=True)
    assert not asked.weights[treated].any()
    for band in range(3):
        own = asked.champion_bands == band
        assert asked.weights[own].sum() == pytest.approx(own.sum())


def test_one_untreated_row_stands_for_all_of_its_band():
    rows = site_rows(
        np.random.default_rng(3),
        10,
        logits=np.full((2, 10), 2.0),
        treated=np.arange(10) > 0,
        untreated=True,
    )
    assert rows.weights.tolist() == [10.0] + [0.0] * 9


def test_no_row_stands_for_more_than_twenty():
    rows = site_rows(np.random.default_rng(3), 500, logits=np.full((2, 500), 2.0))
    treated = np.arange(500) > 0
    asked = site_rows(
        np.random.default_rng(3), 500, logits=rows.logits, treated=treated, untreated=True
    )
    assert asked.weights.max() == LARGEST_WEIGHT
