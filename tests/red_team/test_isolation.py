"""Questions at parameters, and on design matrices, that leave one row in a sum.

Each attack: refused under the default policy; refused by each of its rules alone, all others
switched off; and it works, with the planted row's values recovered, where only these are off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from red_team.conftest import TARGET, Site, make_rows, make_study, unscaled, vector

from fedrisk.federation.query import Query
from fedrisk.models.descent import LocalUpdate
from fedrisk.models.design_matrix import DesignMatrix
from fedrisk.models.metrics import EvaluationSums, SiteEvaluation
from fedrisk.sites.cohort import load_cohort
from fedrisk.sites.disclosure.case import Case, kish
from fedrisk.sites.policy import OPEN, Policy
from fedrisk.study import Study


@dataclass(frozen=True)
class Attack:
    """A question that isolates the target, and the policy's keys that each refuse it."""

    question: Callable[[Study, DesignMatrix], Query]
    rules: dict[str, tuple[str, ...]]
    exact: float

    @property
    def keys(self) -> list[str]:
        return [key for keys in self.rules.values() for key in keys]


def at(study: Study, design: DesignMatrix, age: float, steepness: float) -> Query:
    """Log-odds of zero at this age, and so much less for each year below."""
    column = design.columns[0]
    middle = (age - column.mean) / column.scale
    beta = vector(design, -steepness * middle, age=steepness)
    return Query("newton", study, "run-1", "2026-01-01", design, beta[None])


def extreme(study: Study, design: DesignMatrix) -> Query:
    return at(study, design, 118.0, steepness=30.0)


def huge_intercept(study: Study, design: DesignMatrix) -> Query:
    return at(study, design, 118.0, steepness=4.9)


def mild(study: Study, design: DesignMatrix) -> Query:
    """Every number within its bounds, and the target still makes up nearly all of the sum."""
    return at(study, design, 118.0, steepness=1.7)


def tiny_scale(study: Study, design: DesignMatrix) -> Query:
    """A coefficient of one, on a column that is scaled and shifted to the target's age."""
    age = replace(design.columns[0], mean=118.0, scale=0.1)
    crafted = DesignMatrix((age, *design.columns[1:]))
    beta = vector(crafted, 0.0, age=1.0)
    return Query("newton", study, "run-1", "2026-01-01", crafted, beta[None])


FADING = {"bounded linear predictor": ("linear_predictor",)}
SIZE = {"enough effective rows": ("effective_rows",)}
BOUNDS = {"bounded parameters": ("intercept", "coefficient")}
ATTACKS = {
    "extreme coefficients": Attack(extreme, BOUNDS | FADING | SIZE, 1e-6),
    "huge intercept": Attack(
        huge_intercept, {"bounded parameters": ("intercept",)} | FADING | SIZE, 1e-3
    ),
    "within every bound": Attack(mild, SIZE, 0.05),
    "tiny scale, shifted mean": Attack(
        tiny_scale, {"plausible design": ("smallest_share",)} | FADING | SIZE, 1e-6
    ),
}
each = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)


@each
def test_refused_under_the_default_policy(site: Site, study: Study, attack: Attack) -> None:
    reason = site.refuses(attack.question(study, site.design(study)))
    assert any(f"(rule: {rule})" in reason for rule in attack.rules)
    assert not any(str(TARGET[name]) in reason for name in ("age", "crp"))


@each
def test_each_of_its_rules_alone_refuses_it(site: Site, study: Study, attack: Attack) -> None:
    question = attack.question(study, site.design(study))
    for rule, keys in attack.rules.items():
        site.with_only(*keys)
        assert f"(rule: {rule})" in site.refuses(question)


@each
def test_gives_the_row_away_without_its_rules(site: Site, study: Study, attack: Attack) -> None:
    site.without(*attack.keys)
    question = attack.question(study, site.design(study))
    hessian = site.sums(question).hessian[0]
    assert question.design is not None
    row = unscaled(question.design, hessian[0, 1:] / hessian[0, 0])
    assert row["crp"] == pytest.approx(TARGET["crp"], rel=attack.exact)
    assert row["sex=m"] == pytest.approx(1, abs=attack.exact * 2)
    assert row["ward=b"] == pytest.approx(1, abs=attack.exact * 2)


def test_the_gradient_gives_outcome_and_row_away_as_the_hessian_does(
    site: Site, study: Study
) -> None:
    site.without("intercept", "coefficient", "linear_predictor", "effective_rows")
    design = site.design(study)
    # Two questions whose only difference is the target's risk: one half, then nearly one.
    half, above = at(study, design, 118.0, 30.0), at(study, design, 110.0, 30.0)
    gradient = site.sums(above).gradient[0] - site.sums(half).gradient[0]
    row = unscaled(design, gradient[1:] / gradient[0])
    assert row["crp"] == pytest.approx(TARGET["crp"], rel=1e-6)
    assert row["age"] == pytest.approx(TARGET["age"], rel=1e-6)


def outcomes_known(study: Study, design: DesignMatrix) -> Query:
    """Everybody's risk near zero, the target's near one: weights of the Hessian look harmless.

    The events' rows, summed, are in every gradient, and so known from any other; what is left of
    this gradient is rows weighted by their risks.
    """
    column = design.columns[0]
    beta = vector(design, -7.5, age=12 / ((118.0 - column.mean) / column.scale))
    return Query("newton", study, "run-1", "2026-01-01", design, beta[None])


def test_a_gradient_less_what_is_known_of_outcomes(site: Site, study: Study) -> None:
    design = site.design(study)
    query = outcomes_known(study, design)
    assert "(rule: enough effective rows)" in site.refuses(query)
    cohort = load_cohort(study, "ward", site.folder / "rows.csv", datetime.now(UTC))
    case = Case(Policy(), query, cohort)
    risk = 1 / (1 + np.exp(-case.logits[0]))
    # The weights that are in plain sight would pass.
    assert min(kish(risk * (1 - risk)), kish(risk - case.rows[1])) > 100
    assert kish(risk) < 5

    site.without("effective_rows")
    zero = site.sums(site.query(study, design, vector(design, 0.0)))
    events = (np.r_[float(zero.rows), np.zeros(len(design.columns))] / 2) - zero.gradient[0]
    risks = site.sums(query).gradient[0] + events
    target = [
        (TARGET[name] - design.columns[place].mean) / design.columns[place].scale
        for name, place in (("age", 0), ("crp", 1))
    ]
    assert risks[1:3] == pytest.approx(target, rel=0.15)


# -- evaluation ---------------------------------------------------------------------------------


def evaluate(study: Study, design: DesignMatrix, **coefficients: float) -> Query:
    beta = vector(design, 0.0, **coefficients)
    return Query("evaluation", study, "run-1", "2026-01-01", design, beta[None])


def test_score_bins_give_a_test_row_away_unless_scores_are_grouped(site: Site) -> None:
    """A score of age alone: the oldest person's bin holds age and outcome of one person."""
    study = site.approves(make_study())
    rows = [*make_rows(), TARGET | {"fold": "test"}]
    site.has(rows)
    design = site.design(study)
    # Twenty years a standard deviation: the target's score is 3.4, in a bin of its own.
    crafted = DesignMatrix((replace(design.columns[0], scale=20.0), *design.columns[1:]))
    query = evaluate(study, crafted, age=1.0)

    grouped = site.ask(query).record(EvaluationSums, query.dimensions)
    held = grouped.bin_rows[grouped.bin_rows > 0]
    assert held.min() >= 10
    top = np.flatnonzero(grouped.bin_rows)[-1]
    seen = crafted.columns[0].mean + 20 * grouped.bin_logits[top] / grouped.bin_rows[top]
    assert abs(seen - 118) > 30  # the mean of ten

    site.without("contributors")
    bare = site.ask(query).record(EvaluationSums, query.dimensions)
    top = np.flatnonzero(bare.bin_rows)[-1]
    assert bare.bin_rows[top] == 1
    age = crafted.columns[0].mean + 20 * bare.bin_logits[top]
    assert age == pytest.approx(118.0, abs=1e-9)
    assert bare.bin_events[top] == TARGET["died"]


@pytest.mark.parametrize("died", [0, 1])
def test_sums_and_auroc_at_one_level_give_an_outcome_away_unless_grouped(
    site: Site, died: int
) -> None:
    """One test row alone in ward c: a score of that ward alone tells that person's outcome."""
    study = site.approves(make_study())
    wards = [TARGET | {"ward": "c", "age": 50.0}] * 12  # enough in training: a design has the ward
    alone = TARGET | {"ward": "c", "age": 51.0, "fold": "test", "died": died}
    site.has([*make_rows(), *wards, alone])
    design = site.design(study)
    query = evaluate(study, design, ward__c=0.5)

    def outcome(sums: EvaluationSums, own: SiteEvaluation) -> tuple[float, float]:
        """Rows in ward c and events among them, solved from sums at two values of the score."""
        column = design.columns[-1]
        low, high = ((x - column.mean) / column.scale * 0.5 for x in (0, 1))
        risks = 1 / (1 + np.exp(-np.array([low, high])))
        rows = (float(sums.expected) - float(sums.rows) * risks[0]) / (risks[1] - risks[0])
        squares = float(sums.rows - rows) * risks[0] ** 2 + rows * risks[1] ** 2
        weighted = (squares + float(sums.events) - float(sums.squared_error)) / 2
        events = (weighted - float(sums.events) * risks[0]) / (risks[1] - risks[0])
        return rows, events

    def answered() -> tuple[EvaluationSums, SiteEvaluation]:
        reply = site.ask(query)
        return (
            reply.record(EvaluationSums, query.dimensions),
            reply.record(SiteEvaluation, query.dimensions),
        )

    sums, own = answered()
    assert float(own.auroc) == 0.5  # one group: nobody is told apart
    assert abs(outcome(sums, own)[0] - 1) > 0.5

    site.without("contributors")
    sums, own = answered()
    assert outcome(sums, own) == (pytest.approx(1, abs=1e-6), pytest.approx(died, abs=1e-6))
    assert (float(own.auroc) > 0.5) == bool(died)


# -- local steps --------------------------------------------------------------------------------


def boomerang(study: Study, design: DesignMatrix) -> Query:
    """Twice the inverse curvature with a huge ridge: the first step lands at minus the start.

    The start is harmless (no row stands out), minus the start isolates the target, and the second
    step's gradient is there to be read in the last digits of what comes back.
    """
    column = design.columns[0]
    slope = 9.4 / ((118.0 - column.mean) / column.scale)
    start = vector(design, -10.0, age=-slope)
    options = {"local-steps": 2.0, "learning-rate": 2.0, "ridge": 1e6}
    return Query("descent", study, "run-1", "2026-01-01", design, start[None], options)


@pytest.mark.parametrize(("off", "rule"), [((), "known options"), (("known_options",), "ridge")])
def test_steps_that_the_coordinator_steers_are_refused(
    site: Site, study: Study, drop_rules: Callable[..., None], off: tuple[str, ...], rule: str
) -> None:
    drop_rules(*off)
    assert rule in site.refuses(boomerang(study, site.design(study)))


def test_steered_steps_give_the_row_away_without_the_rules(
    site: Site, study: Study, drop_rules: Callable[..., None]
) -> None:
    drop_rules("known_options", "study_ridge")
    design = site.design(study)
    query = boomerang(study, design)
    moved = site.ask(query).record(LocalUpdate, query.dimensions).parameters
    start = site.query(study, design, query.parameters[0])
    first = site.sums(start)
    there = first.gradient[0] / float(first.rows) - moved * 1e6 / 2  # the gradient at minus start
    zero = site.sums(site.query(study, design, vector(design, 0.0)))
    # At zero the gradient is half the sum of rows (zero but for the intercept) less events.
    events = (np.r_[float(zero.rows), np.zeros(len(design.columns))] / 2) - zero.gradient[0]
    risks = there * float(zero.rows) + events  # sum of risk * row, of which the target is most
    place = [column.name for column in design.columns].index("crp")
    column = design.columns[place]
    target = (TARGET["crp"] - column.mean) / column.scale
    risk = 1 / (1 + np.exp(10.0 - 9.4))
    assert risks[1 + place] == pytest.approx(risk * target, rel=0.1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"learning-rate": 1e6}, "'learning-rate' must be between"),
        ({"learning-rate": -1.0}, "'learning-rate' must be between"),
        ({"learning-rate": float("nan")}, "'learning-rate' must be between"),
        ({"local-steps": 1e9}, "'local-steps' must be a whole number"),
        ({"local-steps": 1.5}, "'local-steps' must be a whole number"),
        ({"local-steps": 0.0}, "'local-steps' must be between"),
        ({"ridge": -1.0}, "'ridge' must be between"),
        ({"ridge": 1.0}, "'ridge' is more than the study's penalty"),
        ({"clip": 1.0}, "'clip' is unknown"),
    ],
)
def test_crafted_options_are_refused(
    site: Site, study: Study, options: dict[str, float], reason: str
) -> None:
    given = {"local-steps": 1.0, "learning-rate": 1.0, "ridge": 0.0} | options
    design = site.design(study)
    query = site.query(study, design, vector(design, 0.0))
    assert reason in site.refuses(replace(query, kind="descent", options=given))


def test_steps_that_end_at_extreme_parameters_stay(site: Site, study: Study) -> None:
    design = site.design(study)
    options = {"local-steps": 20.0, "learning-rate": 1.0, "ridge": 0.0}
    query = replace(site.query(study, design, vector(design, 0.0)), kind="descent", options=options)
    site.ask(query)
    site.set(site.policy.model_copy(update={"coefficient": 0.01}))
    assert "a coefficient is beyond 0.01" in site.refuses(query)


def test_one_row_s_gradient_is_the_row(site: Site, study: Study) -> None:
    """A site with a single training row: one step from zero is a multiple of that row."""
    site.has([*make_rows(), TARGET])
    design = site.design(study)
    site.has([row | {"fold": "test"} for row in make_rows()] + [TARGET])
    site.run = "run-2"
    options = {"local-steps": 1.0, "learning-rate": 1.0, "ridge": 0.0}
    query = replace(site.query(study, design, vector(design, 0.0)), kind="descent", options=options)
    reason = site.refuses(query)
    assert reason == "more than 0.33 parameters for one training row (rule: enough rows)"
    for key, rule in (
        ("parameters_per_row", "enough rows"),
        ("contributors", "enough contributors"),
        ("effective_rows", "enough effective rows"),
    ):
        site.set(OPEN.model_copy(update={key: getattr(Policy(), key)}))
        assert f"(rule: {rule})" in site.refuses(query)
    site.set(OPEN.model_copy(update={"approved_studies_only": True}))
    moved = site.ask(query).record(LocalUpdate, query.dimensions).parameters
    row = unscaled(design, moved[1:] / moved[0])
    assert row["crp"] == pytest.approx(TARGET["crp"])
    assert row["age"] == pytest.approx(TARGET["age"])
    assert moved[0] > 0  # and an event
