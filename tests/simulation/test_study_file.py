"""The study of a simulated cohort."""

from fedrisk.simulation import study_of
from fedrisk.study import builtin_study


def test_the_study_is_the_built_in_one_unless_somebody_acts_on_the_score():
    assert study_of("concept-change") == builtin_study("air-wearables")
    contaminated = study_of("label-contamination")
    assert contaminated.treated == "acted_on_score"
    assert contaminated.hash != study_of().hash
    assert contaminated.features == study_of().features
