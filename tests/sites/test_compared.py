"""Test rows as a comparison sees them: which rows, whose, of which day, season and score."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fedrisk.errors import FederationError
from fedrisk.models.comparison import group_names
from fedrisk.models.contender import Contender
from fedrisk.models.design_matrix import DesignColumn, DesignMatrix
from fedrisk.sites.cohort import Cohort, load_cohort
from fedrisk.sites.compared import compared_rows
from fedrisk.study import Study

NOW = datetime(2025, 1, 1, tzinfo=UTC)
DESIGN = DesignMatrix((DesignColumn("age", "age", "value", -1, 50.0, 50.0, 10.0, False),))
CHAMPION = Contender("champion", DESIGN, np.array([-1.0, 0.5]))
CHALLENGER = Contender("challenger", DESIGN, np.array([0.25, 2.0]))


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    return make_study(id="who", time="day", treated="acted", split="fold", subgroups=["sex"])


@pytest.fixture
def cohort(study: Study, csv_file: Callable[[str], Path]) -> Cohort:
    lines = [
        "age,pulse,sex,ill,who,day,acted,fold",
        "60,70,male,1,a,2024-01-31T23:00:00,yes,test",
        "40,70,female,0,b,2024-02-01,no,train",
        "30,70,female,0,c,2024-03-01T00:30:00,no,test",
        "70,70,,0,a,2024-03-01T22:00:00,no,test",
        "50,70,male,1,d,2024-12-01,no,test",
    ]
    return load_cohort(study, "north", csv_file("\n".join(lines) + "\n"), NOW)


def test_every_model_scores_the_test_rows(cohort: Cohort) -> None:
    rows = compared_rows(cohort, (CHAMPION, CHALLENGER))
    assert rows.logits.tolist() == [[-0.5, -2.0, 0.0, -1.0], [2.25, -3.75, 4.25, 0.25]]
    assert rows.events.tolist() == [True, False, False, True]
    assert rows.treated.tolist() == [True, False, False, False]
    assert rows.judged.all()
    assert rows.bands == cohort.study.bands


def test_rows_of_a_person_and_of_a_day_belong_together(cohort: Cohort) -> None:
    rows = compared_rows(cohort, (CHAMPION,))
    first, second, third, fourth = rows.people.tolist()
    assert first == third
    assert len({first, second, fourth}) == 3
    days = rows.days.tolist()
    assert days[1] == days[2]
    assert len(set(days)) == 3


def test_groups_are_seasons_and_levels(cohort: Cohort, study: Study) -> None:
    groups = compared_rows(cohort, (CHAMPION,)).groups
    found = dict(zip(group_names(study), groups.tolist(), strict=True))
    assert found["all"] == [True] * 4
    assert found["season:DJF"] == [True, False, False, True]
    assert found["season:MAM"] == [False, True, True, False]
    assert found["sex:male"] == [True, False, False, True]
    assert found["sex:female"] == [False, True, False, False]


def test_untreated_rows_alone_are_judged_where_that_is_asked(cohort: Cohort) -> None:
    rows = compared_rows(cohort, (CHAMPION,), untreated=True)
    assert rows.judged.tolist() == [False, True, True, True]


def test_without_roles_every_row_is_a_person_and_a_day(
    make_study: Callable[..., Study], csv_file: Callable[[str], Path]
) -> None:
    study = make_study(split="fold")
    text = "age,pulse,sex,ill,fold\n60,70,male,1,test\n40,70,female,0,test\n"
    cohort = load_cohort(study, "north", csv_file(text), NOW)
    rows = compared_rows(cohort, (CHAMPION,))
    assert rows.people.tolist() == rows.days.tolist() == [0, 1]
    assert not rows.treated.any()
    with pytest.raises(FederationError, match="does not tell which rows were treated"):
        compared_rows(cohort, (CHAMPION,), untreated=True)
    with pytest.raises(FederationError, match="without a model"):
        compared_rows(cohort, ())
