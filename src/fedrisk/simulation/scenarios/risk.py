"""Scenarios of the risk: rows look as before, and mean something else."""

from __future__ import annotations

from fedrisk.simulation.scenarios.scenario import Scenario

#: Yearly decline of deaths from cardiovascular disease, United States, 2000 to 2011.
YEARLY_DECLINE = 0.0379
#: Years of that decline that the simulated world goes through in one.
COMPRESSED = 10

CONCEPT_CHANGE = Scenario(
    "concept-change",
    "The effect of fine particles doubles.",
    kind="concept",
    source="a choice; 10 ug/m3 from wildfires had up to ten times the effect of other particles on "
    "respiratory admissions in Aguilera et al., Nat Commun 2021;12:1493",
    doubled="fine particles",
)
PREVALENCE_CHANGE = Scenario(
    "prevalence-change",
    "An epidemic: everybody's odds of an event are 1.6 times what they were.",
    kind="prevalence",
    odds_ratio=1.6,
)
SLOW_AGEING = Scenario(
    "slow-ageing",
    "Care gets better and the model ages: everybody's odds fall steadily, by a third in a year.",
    kind="ageing",
    source="ten years of the decline in cardiovascular deaths, 3.79 % a year, in one: Sidney et "
    "al., JAMA Cardiol 2016;1:594-599, doi:10.1001/jamacardio.2016.1326",
    gradual=True,
    odds_ratio=(1 - YEARLY_DECLINE) ** COMPRESSED,
)
