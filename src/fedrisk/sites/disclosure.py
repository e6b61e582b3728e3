"""Disclosure rules: what a site refuses to answer, and how it hides small groups in what it does.

A rule is a function of a `Case` that returns why the case breaks it, or nothing. `RULES` lists
them all; a new one costs a function, a test and a line there. No reason holds a value of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from fedrisk.errors import DisclosureError
from fedrisk.models.design_matrix import DesignColumn, DesignMatrix
from fedrisk.models.logistic import expit
from fedrisk.models.metrics import EvaluationSums, SiteEvaluation
from fedrisk.models.summary import FeatureSummary, SiteCounts
from fedrisk.sites.cohort import Cohort
from fedrisk.sites.disclosure_cells import (
    hide_small_bins,
    hide_small_counts,
    hide_small_score_bins,
    recode,
    smallest_group,
    withheld,
)
from fedrisk.sites.policy import Policy
from fedrisk.study import NumberFeature, Study
from fedrisk.study.records import BoolArray, FloatArray, Record, total

#: Options that a question may carry, with the range that a site accepts.
OPTIONS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "descent": {
        "local-steps": (1, np.inf),
        "learning-rate": (1e-6, 2.0),
        "ridge": (0.0, 1e6),
        "proximal-mu": (0.0, 1e6),
        "server-round": (0, 1e6),
        "eta": (0.0, 1e6),
    }
}


class Question(Protocol):
    """What a rule reads of a question."""

    @property
    def kind(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def study(self) -> Study: ...
    @property
    def design(self) -> DesignMatrix | None: ...
    @property
    def parameters(self) -> FloatArray: ...
    @property
    def options(self) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Case:
    """A question, the policy it is judged by, and, once opened, the site's rows.

    Attributes
    ----------
    policy : Policy
    question : Question
    cohort : Cohort or None
        With small groups recoded; None while the rows are not open.
    """

    policy: Policy
    question: Question
    cohort: Cohort | None = None

    @cached_property
    def rows(self) -> tuple[FloatArray, BoolArray]:
        """Standardised columns and events of the rows that the question is about."""
        if self.cohort is None or self.question.design is None:
            raise ValueError("this question is about no design matrix, or its rows are not open")
        columns, events = self.cohort.part(test=self.question.kind == "evaluation")
        with np.errstate(all="ignore"):
            return self.question.design.transform(columns), events

    @cached_property
    def logits(self) -> FloatArray:
        """Log-odds of every row at every parameter vector, ``(candidates, rows)``."""
        matrix, _ = self.rows
        with np.errstate(all="ignore"):
            beta = self.question.parameters
            logits: FloatArray = beta[:, :1] + beta[:, 1:] @ matrix.T
        return logits

    @property
    def fits(self) -> bool:
        """Whether the question evaluates sums over training rows."""
        return self.question.kind in ("newton", "descent")


Rule = Callable[[Case], str]


def kish(weights: FloatArray) -> float:
    """Effective sample size of weights: ``(sum of w)^2 / sum of w^2`` (Kish 1965); 0 for none.

    >>> kish(np.array([1.0, 1.0, 0.0])), kish(np.zeros(3))
    (2.0, 0.0)
    """
    largest = float(np.max(np.abs(weights), initial=0.0))
    if largest == 0:
        return 0.0
    scaled = np.abs(weights) / largest
    return float(scaled.sum() ** 2 / np.sum(scaled**2))


def effective_rows(case: Case) -> float:
    """Least effective sample size of the weights behind the Hessian, gradient and loss."""
    _, events = case.rows
    sizes = []
    for logit in case.logits:
        risk = expit(logit)
        sizes.append(kish(risk * (1 - risk)))
        if case.fits:
            sizes += [kish(risk - events), kish(np.logaddexp(0.0, logit) - events * logit)]
    return min(sizes, default=0.0)


def known_kind(case: Case) -> str:
    """The site's policy names the kinds of question and of model."""
    question, policy = case.question, case.policy
    if question.kind not in policy.queries:
        return f"questions of kind {question.kind!r} are not answered here"
    if question.model not in policy.models:
        return f"models of kind {question.model!r} are not fitted here"
    return ""


def declared_shape(case: Case) -> str:
    """The parameters have the shape that this kind of question has."""
    question = case.question
    given = question.parameters.shape
    if question.kind == "summary":
        return "" if question.parameters.size == 0 else "a summary takes no parameters"
    if question.design is None:
        return f"a question of kind {question.kind!r} needs a design matrix"
    if given[1] != 1 + len(question.design.columns):
        return f"{given[1]} parameters do not fit {len(question.design.columns)} columns"
    most = case.policy.candidates if question.kind == "newton" else 1
    if not 1 <= given[0] <= most:
        return f"{given[0]} parameter vectors in one question: at most {most:g} are answered"
    return ""


def finite_parameters(case: Case) -> str:
    """No parameter is infinite or no number."""
    return "" if np.isfinite(case.question.parameters).all() else "a parameter is not finite"


def bounded_parameters(case: Case) -> str:
    """Intercept and coefficients are those that a health-risk model can have."""
    parameters, policy = np.abs(case.question.parameters), case.policy
    if parameters.size == 0:
        return ""
    if parameters[:, 0].max() > policy.intercept:
        return f"the intercept is beyond {policy.intercept:g}"
    if parameters[:, 1:].max(initial=0.0) > policy.coefficient:
        return f"a coefficient is beyond {policy.coefficient:g} for one standard deviation"
    return ""


def known_options(case: Case) -> str:
    """Options are those of the kind of question, within their ranges."""
    known = OPTIONS.get(case.question.kind, {})
    for name, value in case.question.options.items():
        if name not in known:
            return f"option {name!r} is unknown for questions of kind {case.question.kind!r}"
        low, high = known[name]
        if not low <= value <= high:
            return f"option {name!r} must be between {low:g} and {high:g}"
    steps = case.question.options.get("local-steps", 1)
    if steps > case.policy.local_steps or steps != int(steps):
        return f"option 'local-steps' must be a whole number up to {case.policy.local_steps:g}"
    return ""


def declared_design(case: Case) -> str:
    """The design matrix has exactly the columns that follow from the study, with usable numbers."""
    question = case.question
    if question.design is None:
        return ""
    expected = design_skeleton(question.study)
    given = tuple((c.name, c.feature, c.kind, c.level) for c in question.design.columns)
    if given != expected:
        return "the design matrix has other columns than follow from the study"
    bounds = {feature.name: feature for feature in question.study.numbers}
    for column in question.design.columns:
        numbers = (column.fill, column.mean, column.scale)
        if not np.isfinite(numbers).all() or column.scale <= 0:
            return f"column {column.name!r} of the design matrix has no usable mean or scale"
        if not _fill_fits(column, bounds.get(column.feature)):
            return f"column {column.name!r} is filled with what no row can hold"
    return ""


def design_skeleton(study: Study) -> tuple[tuple[str, str, str, int], ...]:
    """Name, feature, kind and level of every column that the study implies."""
    columns: list[tuple[str, str, str, int]] = []
    for feature in study.features:
        if isinstance(feature, NumberFeature):
            columns.append((feature.name, feature.name, "value", -1))
        else:
            columns += [
                (f"{feature.name}={level}", feature.name, "level", code)
                for code, level in enumerate(feature.levels[1:], start=1)
            ]
        if feature.missing == "allow":
            columns.append((f"{feature.name}:missing", feature.name, "missing", -1))
    return tuple(columns)


def _fill_fits(column: DesignColumn, feature: NumberFeature | None) -> bool:
    if column.kind != "value" or feature is None:
        return column.fill in (0.0, 1.0)
    low = -np.inf if feature.minimum is None else feature.minimum
    high = np.inf if feature.maximum is None else feature.maximum
    return bool(low <= column.fill <= high)


def enough_rows(case: Case) -> str:
    """There are at most so many parameters for one training row."""
    if case.cohort is None:
        return ""
    rows, parameters = case.cohort.counts.train, 1 + len(design_skeleton(case.question.study))
    if parameters > case.policy.parameters_per_row * rows:
        return (
            f"{parameters} parameters for {rows} training rows: "
            f"at most {case.policy.parameters_per_row:g} a row are answered"
        )
    return ""


def enough_contributors(case: Case) -> str:
    """After recoding, no training group, and neither outcome, is smaller than the policy's least.

    The reason tells the least and not the size that was found.
    """
    least = case.policy.contributors
    if case.cohort is None or least <= 1:
        return ""
    columns, events = case.cohort.part(test=False)
    held = int(events.sum())
    if any(0 < group < least for group in (held, len(events) - held)):
        return f"fewer than {least} training rows have one of the outcomes"
    if 0 < smallest_group(case.question.study, columns) < least:
        return f"fewer than {least} training rows stand behind an entry"
    return ""


def plausible_design(case: Case) -> str:
    """Means and scales can be those of a federation that these rows are a share of.

    By the law of total variance, a site with a share s of all rows, with standard deviation d and
    mean m, makes the variance of all at least ``s * (d^2 + (m - mean)^2)``.
    """
    if case.cohort is None or case.question.design is None:
        return ""
    columns, _ = case.cohort.part(test=False)
    for column in case.question.design.columns:
        if column.constant:
            continue
        values = column.raw(columns)
        with np.errstate(over="ignore"):
            spread = float(np.mean((values - column.mean) ** 2)) if len(values) else 0.0
            if spread * case.policy.smallest_share > column.scale**2:
                return (
                    f"column {column.name!r}: no federation of these rows has that mean and scale"
                )
    return ""


def bounded_linear_predictor(case: Case) -> str:
    """No row's log-odds are so extreme that the others fade beside it."""
    if case.cohort is None or case.question.design is None:
        return ""
    limit = case.policy.linear_predictor
    largest = np.max(np.abs(case.logits), initial=0.0)
    return "" if largest <= limit else f"some row's log-odds would be beyond {limit:g}"


def enough_effective_rows(case: Case) -> str:
    """Enough rows carry every sum."""
    least = case.policy.effective_rows
    if case.cohort is None or case.question.kind == "summary" or least == 0:
        return ""
    if case.question.kind == "evaluation" and not enough_test_rows(case):
        return ""  # nothing is told then
    if effective_rows(case) >= least:
        return ""
    return f"the effective sample size behind a sum is below {least:g}"


#: Every rule on what is asked and of which rows, in the order in which they are judged.
RULES: tuple[Rule, ...] = (
    known_kind,
    declared_shape,
    finite_parameters,
    bounded_parameters,
    known_options,
    declared_design,
    enough_rows,
    enough_contributors,
    plausible_design,
    bounded_linear_predictor,
    enough_effective_rows,
)


def examine(case: Case, rules: Sequence[Rule] = RULES) -> None:
    """Judge a case: what is asked alone, or also the rows that it is asked of.

    Raises
    ------
    DisclosureError
        With the reason of the first rule that the case breaks.
    """
    for rule in rules:
        if reason := rule(case):
            name = rule.__name__.replace("_", " ")
            raise DisclosureError(
                f"{reason} (rule: {name})", hint="the site's policy.toml sets its bounds"
            )


def protect(policy: Policy, cohort: Cohort) -> Cohort:
    """The cohort with small groups among its training rows recoded."""
    if policy.contributors <= 1:
        return cohort
    train = ~cohort.test
    columns, _ = cohort.part(test=False)
    recoded = recode(cohort.study, columns, policy.contributors).columns
    changed = {name: values.copy() for name, values in cohort.columns.items()}
    for name, values in changed.items():
        values[train] = recoded[name]
    return replace(cohort, columns=changed)


def hide(case: Case, records: Sequence[Record]) -> list[Record]:
    """The answer with small bins merged, small counts left out, a small evaluation withheld."""
    least, study = case.policy.contributors, case.question.study
    tested = enough_test_rows(case)
    hidden: list[Record] = []
    for record in records:
        if isinstance(record, FeatureSummary):
            hidden.append(hide_small_bins(study, record, least))
        elif isinstance(record, SiteCounts):
            hidden.append(hide_small_counts(record, least, test=tested))
        elif isinstance(record, EvaluationSums):
            shown = hide_small_score_bins(record, least)
            hidden.append(shown if tested else withheld(record))
        elif isinstance(record, SiteEvaluation) and not tested:
            hidden.append(SiteEvaluation(total(0), total(0), total(0)))
        else:
            hidden.append(record)
    return hidden


def enough_test_rows(case: Case) -> bool:
    """Whether there are test rows, and both outcomes among them, for an evaluation of one's own."""
    if case.cohort is None:
        return False
    counts, policy = case.cohort.counts, case.policy
    held = int(case.cohort.events[case.cohort.test].sum())
    outcomes = (held, counts.test - held)
    return counts.test >= policy.test_rows and min(outcomes) >= policy.test_events


def group_sizes(case: Case) -> dict[str, float]:
    """Rows and events behind an answer, and the effective sample size of its weights."""
    if case.cohort is None:
        return {}
    _, events = case.cohort.part(test=case.question.kind == "evaluation")
    sizes = {"rows": float(len(events)), "events": float(events.sum())}
    if case.question.design is None:
        return sizes
    return sizes | {"effective": round(effective_rows(case), 1)}
