"""The study that a simulated cohort belongs to."""

from __future__ import annotations

import tomllib

from fedrisk.simulation.scenarios import find_scenario
from fedrisk.study import Study
from fedrisk.study.catalogue import builtin_text
from fedrisk.study.contract import parse_study

#: The built-in study whose columns the cohort has.
STUDY = "air-wearables"


def study_text(scenario: str = "none") -> str:
    """The study file of a cohort: the built-in one, with ``treated`` where somebody acts.

    Raises
    ------
    UsageError
        When there is no scenario of that name.
    """
    text = builtin_text(STUDY)
    care = find_scenario(scenario).care
    if care is None:
        return text
    roles, bracket, features = text.partition("[[features]]")
    return f'{roles.rstrip()}\ntreated = "{care.column}"\n\n{bracket}{features}'


def study_of(scenario: str = "none") -> Study:
    """The study of `study_text`.

    >>> study_of("label-contamination").treated
    'acted_on_score'
    """
    return parse_study(tomllib.loads(study_text(scenario)), f"study of scenario {scenario}")
