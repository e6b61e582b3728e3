"""Scenarios: ways in which the world of the simulated cohort may change over time."""

from __future__ import annotations

from fedrisk.errors import UsageError
from fedrisk.simulation.scenarios.instruments import (
    MISSING_FEED,
    ONE_SITE,
    SENSOR_FIRMWARE,
    UNIT_ERROR,
)
from fedrisk.simulation.scenarios.outcomes import LABEL_CONTAMINATION, LABEL_DELAY
from fedrisk.simulation.scenarios.population import POPULATION_CHANGE
from fedrisk.simulation.scenarios.risk import CONCEPT_CHANGE, PREVALENCE_CHANGE, SLOW_AGEING
from fedrisk.simulation.scenarios.scenario import Care, Newcomers, Scenario, day_of_change
from fedrisk.simulation.scenarios.surroundings import HEAT_WAVE, POLLUTION_EPISODE, SEASON_ONLY

__all__ = ["SCENARIOS", "Care", "Newcomers", "Scenario", "day_of_change", "find_scenario"]

NONE = Scenario(
    "none", "The world stays as it is: nothing but weather and chance.", kind="none", sized=False
)
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        NONE,
        SEASON_ONLY,
        SENSOR_FIRMWARE,
        UNIT_ERROR,
        MISSING_FEED,
        POLLUTION_EPISODE,
        HEAT_WAVE,
        POPULATION_CHANGE,
        PREVALENCE_CHANGE,
        CONCEPT_CHANGE,
        SLOW_AGEING,
        ONE_SITE,
        LABEL_DELAY,
        LABEL_CONTAMINATION,
    )
}


def find_scenario(name: str) -> Scenario:
    """The scenario of that name.

    Raises
    ------
    UsageError
        When there is none; lists those there are.

    >>> find_scenario("none").name
    'none'
    """
    if name not in SCENARIOS:
        raise UsageError(
            f"no scenario is named {name!r}", hint=f"scenarios: {', '.join(SCENARIOS)}"
        )
    return SCENARIOS[name]
