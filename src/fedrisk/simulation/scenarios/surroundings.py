"""Scenarios of air and weather: the world differs, what it does to people stays."""

from __future__ import annotations

from fedrisk.simulation.scenarios.scenario import Scenario

SEASON_ONLY = Scenario(
    "season-only",
    "Nothing changes but the season: the rows are those of `none`.",
    kind="season",
    source="the seasons of the Beijing Multi-Site Air-Quality data, as in `none`",
    sized=False,
)
POLLUTION_EPISODE = Scenario(
    "pollution-episode",
    "Smoke for three weeks: four times the particles, in every city.",
    kind="covariate",
    source="a choice; particles were as high for days in Beijing in January 2013",
    features=("pm25", "pm10"),
    length=21,
    particles=4.0,
)
HEAT_WAVE = Scenario(
    "heat-wave",
    "Two weeks that are 8 degC warmer than they would have been, in every city.",
    kind="covariate",
    source="a choice, of the length and order of August 2003 in Europe: García-Herrera et al., "
    "Crit Rev Environ Sci Technol 2010;40:267-306",
    features=("temperature",),
    length=14,
    temperature=8.0,
)
