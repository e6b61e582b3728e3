"""When, where and how far a scenario changes the world."""

from datetime import date

import numpy as np
import pytest

from fedrisk.errors import UsageError
from fedrisk.simulation import SCENARIOS, day_of_change
from fedrisk.simulation.scenarios import Scenario

DAYS = np.datetime64("2024-01-01") + np.arange(800)
CHANGE = date(2024, 2, 1)
PLACE = 31


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.name)
def test_nothing_changes_before_the_day_of_change(scenario):
    extent = scenario.extent(DAYS, CHANGE, 0)
    assert not extent[:PLACE].any()
    assert (extent[PLACE + 1] > 0) == (scenario.kind != "none")


def test_an_episode_ends_and_a_change_at_one_site_spares_the_others():
    episode = SCENARIOS["heat-wave"].extent(DAYS, CHANGE, 3)
    assert episode.sum() == 14
    assert SCENARIOS["one-site"].extent(DAYS, CHANGE, 0).sum() == len(DAYS) - PLACE
    assert not SCENARIOS["one-site"].extent(DAYS, CHANGE, 1).any()


def test_a_gradual_change_grows_by_one_a_year_and_a_size_multiplies():
    extent = SCENARIOS["slow-ageing"].extent(DAYS, CHANGE, 0, size=2.0)
    assert (np.diff(extent[PLACE:]) > 0).all()
    assert extent[PLACE + 365] == pytest.approx(2.0, rel=0.01)


def test_factors_are_raised_to_the_extent_and_shifts_multiplied_by_it():
    world = Scenario("x", "X.", "concept", odds_ratio=2.0, doubled="fine particles")
    added = world.odds({"pm25": np.array([0.0, 0.0, 100.0])}, np.array([0.0, 3.0, 1.0]), 1.0)
    assert added == pytest.approx([0.0, 3 * np.log(2), np.log(2) + 10 * np.log(1.0068)])


def test_by_default_the_world_changes_after_two_thirds():
    assert day_of_change(date(2024, 1, 1), 30) == date(2024, 1, 21)
    assert day_of_change(date(2024, 1, 1), 1) == date(2024, 1, 1)


@pytest.mark.parametrize("day", [date(2023, 12, 31), date(2024, 1, 31)])
def test_a_change_outside_the_cohort_is_refused(day):
    with pytest.raises(UsageError, match="from 2024-01-01 to 2024-01-30"):
        day_of_change(date(2024, 1, 1), 30, day)
