"""Studies and rows in which a group is one person: levels, pairs, missing values, bins, counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from red_team.conftest import (
    AS_OF,
    FEATURES,
    TARGET,
    Site,
    make_rows,
    make_study,
    raw_moments,
    vector,
)

from fedrisk.federation.query import Query
from fedrisk.models.design_matrix import DesignColumn, DesignMatrix
from fedrisk.models.summary import SiteCounts, bins_by_feature, levels_by_feature
from fedrisk.study import Study


def moments(site: Site, study: Study) -> tuple[DesignMatrix, np.ndarray[Any, Any]]:
    """Sums of products of raw columns, as half the coordinator's arithmetic on one question.

    The design is standardised by numbers of the coordinator's own making, as if from other sites.
    """
    design = DesignMatrix(tuple(_filled(column) for column in site.design(study).columns))
    sums = site.sums(site.query(study, design, vector(design, 0.0)))
    return design, raw_moments(design, sums.hessian[0] * 4)


def _filled(column: DesignColumn) -> DesignColumn:
    if not column.constant:
        return column
    return replace(column, constant=False, mean=0.01, scale=0.1)


def test_a_level_of_one_person(site: Site) -> None:
    """Only the target is in ward c: the product of ward and age is that person's age."""
    study = site.approves(make_study())
    site.has([*make_rows(), TARGET | {"ward": "c"}])

    design, products = moments(site, study)
    ward, age = 1 + design.names.index("ward=c"), 1 + design.names.index("age")
    assert levels_by_feature(study, site.summary(study))["ward"][2] == 0
    assert products[ward, ward] == pytest.approx(0, abs=1e-6)
    assert products[ward, age] == pytest.approx(0, abs=1e-6)

    site.without("contributors", "pair_contributors")
    design, products = moments(site, study)
    assert levels_by_feature(study, site.summary(study))["ward"][2] == 1
    assert products[ward, ward] == pytest.approx(1)
    assert products[ward, age] == pytest.approx(TARGET["age"])
    assert products[ward, 1 + design.names.index("crp")] == pytest.approx(TARGET["crp"])


def test_a_pair_of_levels_of_one_person(site: Site) -> None:
    """Forty women in ward c, and one man: how many men there are, and that he has no CRP."""
    study = site.approves(make_study())
    women = [row | {"sex": "f", "ward": "c"} for row in make_rows(40, 0, seed=3)]
    site.has([*make_rows(), *women, TARGET | {"ward": "c", "crp": ""}])

    def men(name: str) -> float:
        design, products = moments(site, study)
        return float(products[1 + design.names.index("ward=c"), 1 + design.names.index(name)])

    assert men("sex=m") == pytest.approx(0, abs=1e-6)
    site.without("pair_contributors")
    assert men("sex=m") == pytest.approx(1)


def test_a_missing_value_of_one_person(site: Site) -> None:
    """Only the target lacks CRP: the indicator's products are that person's row."""
    study = site.approves(make_study())
    rows = [row | {"crp": row["crp"] or 9.5} for row in make_rows()]
    site.has([*rows, TARGET | {"crp": ""}])

    def missing(name: str) -> float:
        design, products = moments(site, study)
        return float(products[1 + design.names.index("crp:missing"), 1 + design.names.index(name)])

    assert missing("age") == pytest.approx(0, abs=1e-6)
    assert site.summary(study).present[1] == float(site.summary(study).rows)
    site.without("contributors", "pair_contributors")
    assert missing("age") == pytest.approx(TARGET["age"])
    assert missing("ward=b") == pytest.approx(1)


def test_a_number_that_one_person_alone_has(site: Site) -> None:
    """Zero for everybody else: sum and square are the target's value."""
    study = site.approves(make_study([*FEATURES, {"name": "dose", "kind": "number"}]))
    site.has([*({**row, "dose": 0.0} for row in make_rows()), {**TARGET, "dose": 42.5}])
    assert site.summary(study).sums[2] == 0
    site.without("contributors")
    assert site.summary(study).sums[2] == pytest.approx(42.5)


def test_a_row_that_makes_up_the_variance(site: Site, study: Study) -> None:
    """One value of a million: the sum of squares tells it to many digits."""
    site.has([*make_rows(), TARGET | {"crp": 1e6}])
    assert "(rule: no dominant row)" in site.refuses(Query("summary", study, "r", AS_OF))
    site.without("contributors")
    assert np.sqrt(site.summary(study).squares[1]) == pytest.approx(1e6, rel=1e-5)


def narrow(low: float, high: float, **keys: Any) -> Study:
    age = {"name": "age", "kind": "number", "plausible": [low, high]}
    return make_study([age, *FEATURES[1:]], **keys)


def test_bins_as_narrow_as_one_person(site: Site) -> None:
    """A plausible range of half a year about the target's age, in 256 bins."""
    study = site.approves(narrow(117.75, 118.25))
    counts = bins_by_feature(study, site.summary(study))["age"]
    assert set(counts[1:-1]) == {0}
    site.without("contributors")
    counts = bins_by_feature(study, site.summary(study))["age"]
    assert counts.sum() == 601
    assert np.flatnonzero(counts[1:-1]).tolist() == [128]  # 118 to within a day


def test_values_that_are_all_implausible_but_one(site: Site) -> None:
    study = site.approves(narrow(117.9, 118.1))
    rows = [*make_rows(), TARGET]

    def inside() -> float:
        query = Query("summary", study, "run-1", AS_OF)
        counts = site.ask(query).record(SiteCounts, query.dimensions)
        return len(rows) - float(counts.implausible[0])

    site.has(rows)
    assert inside() == 0
    site.without("contributors")
    assert inside() == 1


def test_more_parameters_than_rows_can_bear(site: Site) -> None:
    """As many rows as parameters: two Hessians, diagonalised together, give every row.

    Both are ``X' W X`` with a square X, so the eigenvectors of one in the metric of the other are
    the columns of X inverted (up to scale, which the intercept's column of ones settles).
    """
    random = np.random.default_rng(5)
    names = [f"n{place:02}" for place in range(59)]
    table = random.normal(size=(60, 59))
    rows = [
        dict(zip(names, values, strict=True)) | {"died": place % 3 == 0, "fold": "train"}
        for place, values in enumerate(table.tolist())
    ]
    site.has([row | {"died": int(row["died"])} for row in rows])
    study = site.approves(make_study([{"name": name, "kind": "number"} for name in names]))
    assert "(rule: enough rows)" in site.refuses(Query("summary", study, "r", AS_OF))

    site.without("parameters_per_row")
    design = site.design(study)
    tilted = vector(design, 0.1, n00=0.4, n01=0.3)
    sums = site.sums(site.query(study, design, vector(design, 0.0), tilted))
    flat, bent = (raw_moments(design, hessian) for hessian in sums.hessian)
    _, vectors = np.linalg.eig(np.linalg.solve(flat, bent))
    found = (flat @ vectors).T.real
    found = found[:, 1:] / found[:, :1]
    distance = np.abs(found[:, None, :] - table[None]).max(axis=2)
    assert distance.min(axis=0).max() < 1e-3  # every row of every person
