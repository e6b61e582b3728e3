"""Attacks that the rules do not stop, kept here so that nobody claims otherwise (docs/policy.md).

When one of these fails, a protection has come: move it to the others, and strike it off the page.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from red_team.conftest import TARGET, Site, make_rows, make_study, raw_moments, vector

from fedrisk.sites.policy import Policy


def test_sums_at_four_harmless_points_solve_for_a_group_of_three(site: Site) -> None:
    """Every level and pair has ten rows or more; the three together have one: the target.

    Sums at several points are several equations for the same groups. Weights depend on sex and
    ward alone, so that the Hessian's entry of "CRP missing" and age is known times four unknown
    sums of ages, of each sex and ward.
    """
    study = site.approves(make_study())
    rows = [
        row | {"crp": 9.5} if (row["sex"], row["ward"], row["crp"]) == ("m", "b", "") else row
        for row in make_rows(1200)
    ]
    site.has([*rows, TARGET | {"crp": ""}])
    assert site.policy == Policy()
    design = site.design(study)
    slopes = [(0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.6, 0.6)]
    points = [vector(design, -0.5, sex__m=sex, ward__b=ward) for sex, ward in slopes]
    sums = site.sums(site.query(study, design, *points))
    missing = 1 + design.names.index("crp:missing")
    seen = [raw_moments(design, hessian)[missing] for hessian in sums.hessian]

    places = [design.names.index(name) for name in ("sex=m", "ward=b")]
    columns = [design.columns[place] for place in places]
    groups = [(0, 0), (1, 0), (0, 1), (1, 1)]
    logits = np.array(
        [
            [
                -0.5
                + sum(
                    s * (g - c.mean) / c.scale
                    for s, g, c in zip(slope, group, columns, strict=True)
                )
                for group in groups
            ]
            for slope in slopes
        ]
    )
    risks = 1 / (1 + np.exp(-logits))
    sums_by_group = np.linalg.solve(risks * (1 - risks), np.array(seen))
    assert sums_by_group[3, 0] == pytest.approx(1, abs=1e-6)  # one man in ward b lacks CRP
    age = 1 + design.names.index("age")
    assert sums_by_group[3, age] == pytest.approx(TARGET["age"], abs=1e-6)  # and this is his age


def test_the_one_number_in_the_difference_of_two_answers(site: Site) -> None:
    """Sixty new rows, no small group among them; one alone has a CRP other than zero."""
    study = site.approves(make_study())
    site.has(make_rows())
    design = site.design(study)
    query = site.query(study, design, vector(design, 0.0))
    before = site.sums(query).hessian[0]
    new = [
        row | {"crp": 0, "sex": "fm"[n % 2], "ward": "ab"[n // 2 % 2], "died": int(n % 3 == 0)}
        for n, row in enumerate(make_rows(60, 0, seed=3))
    ]
    site.has([*make_rows(), *new[1:], new[0] | {"crp": TARGET["crp"]}])
    assert site.policy == Policy()
    after = site.sums(replace(query, run_id="run-2")).hessian[0]
    left = raw_moments(design, 4 * (after - before))
    crp = 1 + design.names.index("crp")
    assert left[0, 0] == pytest.approx(60)
    assert left[0, crp] == pytest.approx(TARGET["crp"])
    assert left[crp, crp] == pytest.approx(TARGET["crp"] ** 2)  # one person's, then


def test_everybody_in_a_group_had_the_event(site: Site) -> None:
    """Ten rows are enough contributors, also where all ten are events."""
    study = site.approves(make_study())
    ward = [row | {"ward": "c", "died": 1, "sex": "f", "crp": 9.5} for row in make_rows(10, 0, 3)]
    site.has([*make_rows(), *ward])
    design = site.design(study)
    sums = site.sums(site.query(study, design, vector(design, 0.0)))
    column = design.columns[design.names.index("ward=c")]
    products = raw_moments(design, sums.hessian[0] * 4)
    rows = products[0, 1 + design.names.index("ward=c")]
    residuals = sums.gradient[0]
    gradient = (
        column.mean * residuals[0] + column.scale * residuals[1 + design.names.index("ward=c")]
    )
    assert rows == pytest.approx(10)
    assert rows / 2 - gradient == pytest.approx(10)  # events among them
