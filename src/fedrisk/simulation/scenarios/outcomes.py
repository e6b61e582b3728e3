"""Scenarios of outcomes: when they become known, and what the score itself does to them."""

from __future__ import annotations

from fedrisk.simulation.scenarios.scenario import Care, Scenario

LABEL_DELAY = Scenario(
    "label-delay",
    "Outcomes become known 60 days later than before; until then the label is empty.",
    kind="labels",
    source="a choice",
    sized=False,
    delay=60,
)
LABEL_CONTAMINATION = Scenario(
    "label-contamination",
    "Somebody acts on the score: from a risk of 4 % on, nine in ten are cared for, which prevents "
    "events; the column acted_on_score says whom.",
    kind="labels",
    source="telemonitoring reduced deaths by a factor of .70: TIM-HF2, Koehler et al., Lancet "
    "2018;392:1047-1057; amplified as the effects of a day are",
    sized=False,
    care=Care(from_score=0.04, held_out=0.1, relative_risk=0.70),
)
