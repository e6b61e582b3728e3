"""The simulated cohort, whose true risk is known: people in cities, wearables, air, weather."""

from fedrisk.simulation.cohort import UNKNOWN, Cohort, latest_start, simulate, simulate_site
from fedrisk.simulation.effects import AMPLIFICATION, EFFECTS, Effect, log_odds
from fedrisk.simulation.files import write_cohort
from fedrisk.simulation.scenarios import SCENARIOS, Scenario, day_of_change, find_scenario
from fedrisk.simulation.study_file import study_of, study_text

__all__ = [
    "AMPLIFICATION",
    "EFFECTS",
    "SCENARIOS",
    "UNKNOWN",
    "Cohort",
    "Effect",
    "Scenario",
    "day_of_change",
    "find_scenario",
    "latest_start",
    "log_odds",
    "simulate",
    "simulate_site",
    "study_of",
    "study_text",
    "write_cohort",
]
