"""The simulated cohort, whose true risk is known: people in cities, wearables, air, weather."""

from fedrisk.simulation.cohort import Cohort, latest_start, simulate, simulate_site
from fedrisk.simulation.effects import AMPLIFICATION, EFFECTS, Effect, log_odds
from fedrisk.simulation.files import write_cohort
from fedrisk.simulation.scenarios import SCENARIOS, Scenario, find_scenario

__all__ = [
    "AMPLIFICATION",
    "EFFECTS",
    "SCENARIOS",
    "Cohort",
    "Effect",
    "Scenario",
    "find_scenario",
    "latest_start",
    "log_odds",
    "simulate",
    "simulate_site",
    "write_cohort",
]
