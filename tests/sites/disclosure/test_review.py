"""Rules judge a question and its rows; what leaves has small groups hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import DisclosureError
from fedrisk.models.descent import LocalUpdate
from fedrisk.models.design_matrix import DesignMatrix, design_from_summary
from fedrisk.models.metrics import EvaluationSums, SiteEvaluation, evaluation_sums, site_evaluation
from fedrisk.models.newton import newton_sums
from fedrisk.models.summary import summarise
from fedrisk.sites.cohort import Cohort, CohortCounts
from fedrisk.sites.disclosure.case import Case, kish
from fedrisk.sites.disclosure.review import examine, group_sizes, hide, protect
from fedrisk.sites.disclosure.rules import RULES, design_skeleton
from fedrisk.sites.policy import OPEN, Policy
from fedrisk.study import Study
from fedrisk.study.records import FloatArray


@dataclass(frozen=True)
class Asked:
    """A question without any of its transport."""

    kind: str
    study: Study
    design: DesignMatrix | None = None
    parameters: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    options: Mapping[str, float] = field(default_factory=dict)
    model: str = "logistic"
    strategy: str = "exact"
    as_of: str = "2026-01-01"
    since: str = ""
    until: str = ""
    windows: tuple[tuple[str, str], ...] = ()
    contenders: tuple[()] = ()


def make_cohort(study: Study, train: int = 300, test: int = 200, share: float = 0.3) -> Cohort:
    random, count = np.random.default_rng(4), train + test
    columns: dict[str, Any] = {
        "age": random.uniform(20, 90, count),
        "pulse": np.where(random.random(count) < 0.2, np.nan, random.normal(80, 9, count)),
        "sex": random.integers(-1, 2, count).astype(np.int32),
    }
    counts = CohortCounts(count, count, train, test, 0, 0, 0, {"pulse": 0})
    side = np.arange(count) >= train
    return Cohort("s", study, columns, random.random(count) < share, side, counts)


@pytest.fixture
def cohort(study: Study) -> Cohort:
    return make_cohort(study)


def ask(cohort: Cohort, kind: str = "newton", **changes: Any) -> Asked:
    design = design_from_summary(cohort.study, summarise(cohort.study, *cohort.part(test=False)))
    asked = Asked(kind, cohort.study, design, np.zeros((1, 1 + len(design.columns))))
    return replace(asked, **changes)


# -- effective sample size ------------------------------------------------------------

weights = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=40)


@given(weights, st.sampled_from([1e-300, 1e-9, 1.0, 1e200]))
def test_kish_is_between_one_and_the_rows_whatever_the_unit(held: list[float], unit: float) -> None:
    values = np.array(held)
    size = kish(values)
    assert size == 0 if not values.any() else 1 - 1e-9 <= size <= len(values) + 1e-9
    if values.min() > 1e-6:
        assert kish(values * unit) == pytest.approx(size, rel=1e-9)
        assert size == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-9)


@pytest.mark.parametrize("count", [1, 7, 100])
def test_kish_of_equal_weights_is_their_number(count: int) -> None:
    assert kish(np.full(count, 3.7)) == pytest.approx(count)
    assert kish(np.r_[np.full(count, 3.7), np.zeros(50)]) == pytest.approx(count)
    assert kish(-np.ones(count)) == pytest.approx(count)


def test_the_least_effective_sample_is_that_of_the_worst_weight(cohort: Cohort) -> None:
    """At an intercept of zero every weight is equal; one steep candidate among two decides."""
    assert Case(OPEN, ask(cohort), cohort).effective_rows == pytest.approx(300)
    steep = np.zeros((2, 6))
    steep[1, 1] = 4.0
    asked = ask(cohort, parameters=steep)
    matrix, _ = Case(OPEN, asked, cohort).rows
    risk = 1 / (1 + np.exp(-4.0 * matrix[:, 0]))
    every = (risk * (1 - risk), risk, 1 - risk, -np.log(risk), -np.log1p(-risk))
    least = min(w.sum() ** 2 / (w**2).sum() for w in every)
    assert Case(OPEN, asked, cohort).effective_rows == pytest.approx(least)


# -- rules ------------------------------------------------------------


def test_an_ordinary_question_breaks_no_rule(cohort: Cohort) -> None:
    protected = protect(Policy(), cohort)
    for kind in ("newton", "evaluation"):
        examine(Case(Policy(), ask(cohort, kind), protected))
    options = {"local-steps": 20.0, "learning-rate": 1.0, "ridge": 1 / 300}
    examine(Case(Policy(), ask(cohort, "descent", options=options), protected))
    examine(Case(Policy(), Asked("summary", cohort.study), protected))


def test_the_open_policy_refuses_nothing_that_can_be_answered(cohort: Cohort) -> None:
    extreme = np.full((9, 6), 300.0)
    examine(Case(OPEN, ask(cohort, parameters=extreme), cohort))


def test_a_refusal_names_its_rule_and_no_value(cohort: Cohort) -> None:
    extreme = np.zeros((1, 6))
    extreme[0, 1] = 31.25
    with pytest.raises(DisclosureError) as caught:
        examine(Case(Policy(), ask(cohort, parameters=extreme), cohort))
    assert "(rule: bounded parameters)" in caught.value.message
    assert "31.25" not in caught.value.message


def test_what_needs_no_rows_is_judged_without_them(cohort: Cohort) -> None:
    examine(Case(Policy(), ask(cohort)))
    with pytest.raises(DisclosureError, match="a coefficient is beyond 5"):
        examine(Case(Policy(), ask(cohort, parameters=np.full((1, 6), 5.1))))
    assert all(rule.__doc__ for rule in RULES)


def test_a_summary_may_name_one_finite_centre_for_each_number(cohort: Cohort) -> None:
    protected, numbers = protect(Policy(), cohort), len(cohort.study.numbers)
    far = np.full((1, numbers), 1.7e9)  # no parameter of a model, so not bounded like one
    examine(Case(Policy(), Asked("summary", cohort.study, parameters=far), protected))
    for shape in ((2, numbers), (1, numbers + 1), (numbers, 1)):
        asked = Asked("summary", cohort.study, parameters=np.zeros(shape))
        with pytest.raises(DisclosureError, match="but one centre for each number"):
            examine(Case(Policy(), asked, protected))
    for value in (np.nan, np.inf):
        asked = Asked("summary", cohort.study, parameters=far * value)
        with pytest.raises(DisclosureError, match="finite parameters"):
            examine(Case(Policy(), asked, protected))


@pytest.mark.parametrize(
    ("train", "share", "rule"),
    [(12, 0.3, "enough rows"), (100, 0.02, "enough contributors"), (45, 0.4, "effective rows")],
)
def test_small_sites_are_refused(study: Study, train: int, share: float, rule: str) -> None:
    few = make_cohort(study, train, 200, share)
    asked = ask(make_cohort(study))
    with pytest.raises(DisclosureError, match=rule):
        examine(Case(Policy(), asked, protect(Policy(), few)))


def test_the_design_s_columns_follow_from_the_study(cohort: Cohort) -> None:
    design = ask(cohort).design
    assert design is not None
    skeleton = design_skeleton(cohort.study)
    assert tuple((c.name, c.feature, c.kind, c.level) for c in design.columns) == skeleton


def test_the_ridge_is_at_most_the_study_s_for_these_rows(cohort: Cohort) -> None:
    def judged(ridge: float) -> None:
        options = {"local-steps": 1.0, "learning-rate": 1.0, "ridge": ridge}
        examine(Case(Policy(), ask(cohort, "descent", options=options), protect(Policy(), cohort)))

    judged(cohort.study.penalty / 300)
    with pytest.raises(DisclosureError, match="study ridge"):
        judged(cohort.study.penalty / 299)


# -- answers ------------------------------------------------------------


def test_protecting_leaves_test_rows_and_the_cohort_itself_alone(study: Study) -> None:
    cohort = make_cohort(study)
    cohort.columns["pulse"][:] = np.where(np.arange(500) % 100 == 0, np.nan, 70.0 + np.arange(500))
    before = {name: values.copy() for name, values in cohort.columns.items()}
    protected = protect(Policy(), cohort)
    assert not np.isnan(protected.columns["pulse"][:300]).any()  # three were missing
    assert np.isnan(protected.columns["pulse"][300:]).sum() == 2
    for name, values in before.items():
        np.testing.assert_array_equal(cohort.columns[name], values)
    assert protect(OPEN, cohort) is cohort


def evaluated(cohort: Cohort, policy: Policy) -> tuple[EvaluationSums, SiteEvaluation]:
    asked = ask(cohort, "evaluation", parameters=np.array([[0.0, 1.0, 0.3, 0.0, 0.2, 0.0]]))
    case = Case(policy, asked, cohort)
    bare = [
        evaluation_sums(case.logits[0], case.rows[1]),
        site_evaluation(case.logits[0], case.rows[1]),
    ]
    sums, own = hide(case, bare)
    assert isinstance(sums, EvaluationSums)
    assert isinstance(own, SiteEvaluation)
    return sums, own


def test_an_evaluation_is_made_of_groups(cohort: Cohort) -> None:
    sums, own = evaluated(cohort, Policy())
    assert sums.bin_rows[sums.bin_rows > 0].min() >= 10
    assert sums.bin_rows.sum() == sums.rows == 200
    bare, exact = evaluated(cohort, OPEN)
    assert float(own.auroc) == pytest.approx(float(exact.auroc), abs=0.02)
    assert bare.bin_rows[bare.bin_rows > 0].min() < 10


@pytest.mark.parametrize(("test", "share"), [(49, 0.3), (200, 0.01), (0, 0.3)])
def test_an_evaluation_of_few_is_withheld(study: Study, test: int, share: float) -> None:
    sums, own = evaluated(make_cohort(study, 300, test, share), Policy())
    assert not any(array.any() for array in (*sums.arrays().values(), *own.arrays().values()))


def test_a_local_update_that_ended_far_out_stays(cohort: Cohort) -> None:
    case = Case(Policy(), ask(cohort, "descent"), cohort)
    near = LocalUpdate(np.full(6, 0.1))
    assert hide(case, [near]) == [near]
    with pytest.raises(DisclosureError, match="bounded parameters"):
        hide(case, [LocalUpdate(np.full(6, 9.0))])


def test_sums_leave_as_they_are(cohort: Cohort) -> None:
    case = Case(Policy(), ask(cohort), cohort)
    sums = newton_sums(*case.rows, case.parameters)
    assert hide(case, [sums]) == [sums]


def test_group_sizes_tell_rows_events_and_effective_rows(cohort: Cohort) -> None:
    case = Case(Policy(), ask(cohort), cohort)
    events = float(cohort.events[:300].sum())
    assert group_sizes(case) == {"rows": 300.0, "events": events, "effective": 300.0}
    assert group_sizes(Case(Policy(), ask(cohort))) == {}
    summary = Case(Policy(), Asked("summary", cohort.study), cohort)
    assert group_sizes(summary) == {"rows": 300.0, "events": events}
