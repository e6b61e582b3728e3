"""Scenarios: ways in which the world of the simulated cohort may change over time."""

from __future__ import annotations

from dataclasses import dataclass

from fedrisk.errors import UsageError


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named course of the simulated world.

    Parameters
    ----------
    name : str
        As given on the command line.
    description : str
        What changes, as a sentence.
    """

    name: str
    description: str


SCENARIOS = {
    scenario.name: scenario
    for scenario in (Scenario("none", "The world stays as it is: nothing but weather and chance."),)
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
