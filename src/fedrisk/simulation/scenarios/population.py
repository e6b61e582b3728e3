"""The scenario in which other people take part."""

from __future__ import annotations

from fedrisk.simulation.scenarios.scenario import Newcomers, Scenario

POPULATION_CHANGE = Scenario(
    "population-change",
    "Half of the people are replaced by heart-failure patients: older, more men, fewer steps, "
    "faster hearts.",
    kind="covariate",
    source="age 70 and 70 % men as in TIM-HF2 (Koehler et al., Lancet 2018;392:1047-1057); steps "
    "as the lowest quarter of Paluch et al., Lancet Public Health 2022;7:e219-e228 (3,553 a day); "
    "heart rate is a choice",
    features=("age", "sex", "steps", "heart_rate"),
    sized=False,
    newcomers=Newcomers(
        share=0.5, age_mean=70.0, age_spread=10.5, male=0.7, steps=3_553 / 7_500, heart_rate=6.0
    ),
)
