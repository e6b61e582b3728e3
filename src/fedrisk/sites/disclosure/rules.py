"""Disclosure rules: what a site refuses to answer.

A rule is a function of a `Case` that returns why the case breaks it, or nothing. `RULES` lists
them all; a new one costs a function, a test and a line there. No reason holds a value of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import pairwise

import numpy as np

from fedrisk.errors import EgressError
from fedrisk.models.comparison import PooledScores
from fedrisk.models.design_matrix import DesignColumn
from fedrisk.sites.cohort import instant
from fedrisk.sites.disclosure.case import COMPARING, Case
from fedrisk.study import NumberFeature, Study

Rule = Callable[[Case], str]

#: Most windows in one question.
MOST_WINDOWS = 400

#: Options that a question may carry, with the range that a site accepts. A step of at most the
#: inverse curvature never crosses the optimum; a longer one, with a large ridge, goes where the
#: coordinator likes.
OPTIONS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "descent": {
        "local-steps": (1, np.inf),
        "learning-rate": (1e-6, 1.0),
        "ridge": (0.0, 1e6),
        "proximal-mu": (0.0, 1e6),
        "server-round": (0, 1e6),
        "eta": (0.0, 1e6),
    },
    "profile": {"weeks": (1, 106)},
    "comparison": {"untreated": (0, 1)},
    "placement": {"untreated": (0, 1)},
}


#: Kinds of question that a fit asks.
_FITTING = ("summary", "newton", "descent", "evaluation")


def known_kind(case: Case) -> str:
    """The site's policy names the kinds of question and of model."""
    question, policy = case.question, case.policy
    if question.kind not in policy.queries:
        return f"questions of kind {question.kind!r} are not answered here"
    if question.model not in policy.models:
        return f"models of kind {question.model!r} are not fitted here"
    if question.kind in _FITTING and question.strategy not in policy.strategies:
        return f"strategy {question.strategy!r} is not taken part in here"
    return ""


def declared_shape(case: Case) -> str:
    """The parameters have the shape that this kind of question has.

    A summary may name one centre for each number, about which its sums are taken. That tells
    nothing that a summary without does not: the sums about ``c + d`` are the sums ``S`` about ``c``
    less ``n d``, their squares ``Q - 2 d S + n d^2``, and they are computed so
    (`fedrisk.models.summary.summarise`). It counts as a question of its own.
    """
    question = case.question
    given = case.parameters.shape
    if len(given) != 2:
        return "the parameters are no table of vectors"
    if question.kind == "summary":
        fits = given == (1, len(question.study.numbers)) or question.parameters.size == 0
        return "" if fits else "a summary takes no parameters but one centre for each number"
    if question.kind == "profile" and question.design is None:
        return "" if not question.parameters.size else "parameters need a design matrix"
    if case.design is None:
        return f"a question of kind {question.kind!r} needs a design matrix"
    if given[1] != 1 + len(case.design.columns):
        return f"{given[1]} parameters do not fit {len(case.design.columns)} columns"
    most = case.policy.candidates if question.kind == "newton" else 1
    if not 1 <= given[0] <= most:
        return f"{given[0]} parameter vectors in one question: at most {most:g} are answered"
    return ""


def declared_contenders(case: Case) -> str:
    """Models are named by a comparison alone, and no more than the site compares at once.

    Its second question tells the models' scores over all sites, in the declared shape.
    """
    question, models = case.question, len(case.question.contenders)
    if question.kind not in COMPARING:
        return "models are named where none are compared" if models else ""
    if not 1 <= models <= case.policy.candidates:
        return f"{models} models in one question: at most {case.policy.candidates:g} are compared"
    if question.design is not None:
        return "a comparison has a design matrix for each of its models, and no other"
    if question.kind == "comparison":
        return "a comparison begins without parameters" if question.parameters.size else ""
    try:
        pooled = PooledScores.from_array(question.parameters)
    except EgressError as error:
        return error.message
    return "" if len(pooled.cases) == models else "not as many scores as there are models"


def readable_time(case: Case) -> str:
    """The time as of which rows are mature is one, and so are the ends of a window of time."""
    question = case.question
    window = [time for time in (question.since, question.until) if time]
    for time in (question.as_of, *window):
        try:
            datetime.fromisoformat(time)
        except ValueError:
            return "the time that the question is about cannot be read"
    if window and question.study.time is None:
        return "a window of time is asked for, and the study's rows have no time"
    return ""


def declared_windows(case: Case) -> str:
    """Windows are asked of a profile alone: times, in order, that do not overlap."""
    question, windows = case.question, case.question.windows
    if not windows:
        return ""
    if question.kind != "profile" or question.study.time is None or "weeks" in question.options:
        return "windows of time are asked for where there are none"
    if len(windows) > MOST_WINDOWS:
        return f"{len(windows)} windows in one question: at most {MOST_WINDOWS} are answered"
    try:
        times = [instant(datetime.fromisoformat(time)) for window in windows for time in window]
    except (ValueError, OverflowError):
        return "a window's time cannot be read"
    if any(later < sooner for sooner, later in pairwise(times)):
        return "windows overlap, or are not in order"
    return ""


def finite_parameters(case: Case) -> str:
    """No parameter is infinite or no number."""
    return "" if np.isfinite(case.parameters).all() else "a parameter is not finite"


def bounded_parameters(case: Case) -> str:
    """Intercept and coefficients are those that a health-risk model can have."""
    parameters, policy = np.abs(case.parameters), case.policy
    if parameters.size == 0 or case.question.kind == "summary":
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
    if case.question.options.get("weeks", 1) != int(case.question.options.get("weeks", 1)):
        return "option 'weeks' must be a whole number"
    steps = case.question.options.get("local-steps", 1)
    if steps > case.policy.local_steps or steps != int(steps):
        return f"option 'local-steps' must be a whole number up to {case.policy.local_steps:g}"
    return ""


def declared_design(case: Case) -> str:
    """The design matrix has exactly the columns that follow from the study, with usable numbers."""
    question, design = case.question, case.design
    if design is None:
        return ""
    expected = design_skeleton(question.study)
    given = tuple((c.name, c.feature, c.kind, c.level) for c in design.columns)
    if given != expected:
        return "the design matrix has other columns than follow from the study"
    bounds = {feature.name: feature for feature in question.study.numbers}
    for column in design.columns:
        numbers = (column.fill, column.mean, column.scale)
        if not all(isinstance(number, int | float) for number in numbers):
            return f"column {column.name!r} of the design matrix is not made of numbers"
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
        return f"more than {case.policy.parameters_per_row:g} parameters for one training row"
    return ""


def enough_contributors(case: Case) -> str:
    """Neither the training rows nor either outcome among them are fewer than the policy's least.

    Levels and pairs are no fewer once rows are recoded (`fedrisk.sites.disclosure.cells.recode`).
    """
    if case.cohort is None or case.judges:
        return ""  # test rows' scores are grouped
    least = case.policy.contributors
    _, events = case.cohort.part(test=False)
    held = int(events.sum())
    if 0 < len(events) < max(least, case.policy.pair_contributors):
        return "too few training rows"
    if any(0 < group < least for group in (held, len(events) - held)):
        return f"fewer than {least} training rows have one of the outcomes"
    return ""


def plausible_design(case: Case) -> str:
    """Means and scales can be those of a federation that these rows are a share of.

    By the law of total variance, a site with a share s of all rows, with standard deviation d and
    mean m, makes the variance of all at least ``s * (d^2 + (m - mean)^2)``.
    """
    if case.cohort is None or case.design is None:
        return ""
    columns, _ = case.cohort.part(test=False)
    for column in case.design.columns:
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


def no_dominant_row(case: Case) -> str:
    """No row makes up more than half of a number's sum of squares about its mean.

    The dominance rule (Hundepool et al., Statistical Disclosure Control, Wiley 2012, 4.2.2) with
    one contributor and 50 %: such a sum is nearly that row's value.
    """
    if case.cohort is None or case.policy.contributors <= 1 or case.judges:
        return ""
    columns, _ = case.cohort.part(test=False)
    for feature in case.question.study.numbers:
        values = columns[feature.name]
        deviations = (values - np.nanmean(values)) ** 2 if not np.isnan(values).all() else values
        if 2 * np.nanmax(deviations, initial=0.0) > np.nansum(deviations):
            return f"one row makes up most of the variance of {feature.name!r}"
    return ""


def study_ridge(case: Case) -> str:
    """The ridge of local steps is the study's penalty, shared out over at least the rows here."""
    if case.cohort is None or case.question.kind != "descent":
        return ""
    rows = max(case.cohort.counts.train, 1)
    most = case.question.study.penalty / rows * (1 + 1e-9)
    if case.question.options.get("ridge", 0.0) > most:
        return "option 'ridge' is more than the study's penalty for these rows"
    return ""


def bounded_linear_predictor(case: Case) -> str:
    """Not so many rows as are enough contributors have log-odds so extreme.

    The rule does not look at the most extreme row: its value could be found by asking again and
    again what is just refused.
    """
    if case.cohort is None or case.design is None or not len(case.rows[1]):
        return ""
    limit, sizes = case.policy.linear_predictor, np.abs(case.logits)
    most = min(max(case.policy.contributors, 1), sizes.shape[1])
    extreme = np.partition(sizes, -most, axis=1)[:, -most] if np.isfinite(limit) else sizes[:, :0]
    if np.all(extreme <= limit):
        return ""
    return f"the log-odds of too many rows would be beyond {limit:g}"


def enough_effective_rows(case: Case) -> str:
    """Enough rows carry every sum."""
    least = case.policy.effective_rows
    if case.cohort is None or case.question.kind == "summary" or least == 0:
        return ""
    if case.judges and not case.enough_test_rows:
        return ""  # nothing is told then
    if case.effective_rows >= least:
        return ""
    return f"the effective sample size behind a sum is below {least:g}"


def enough_left_out(case: Case) -> str:
    """Rows that a comparison leaves out, for a score led to care, are none or enough.

    Asked with and without them, two answers differ by these rows.
    """
    if case.cohort is None or not case.judges:
        return ""
    events = case.cohort.events[case.cohort.test & case.left_out]
    groups = (int(events.sum()), int((~events).sum()))
    if 0 < len(events) < case.policy.contributors:
        return "too few test rows were treated"
    if any(0 < group < case.policy.pair_contributors for group in groups):
        return "too few treated test rows have one of the outcomes"
    return ""


#: Every rule on what is asked and of which rows, in the order in which they are judged.
RULES: tuple[Rule, ...] = (
    known_kind,
    declared_contenders,
    declared_shape,
    readable_time,
    declared_windows,
    finite_parameters,
    bounded_parameters,
    known_options,
    declared_design,
    enough_rows,
    enough_contributors,
    no_dominant_row,
    study_ridge,
    plausible_design,
    bounded_linear_predictor,
    enough_effective_rows,
    enough_left_out,
)

#: Rules on parameters that local steps came to, before they leave.
ANSWER_RULES: tuple[Rule, ...] = (
    finite_parameters,
    bounded_parameters,
    bounded_linear_predictor,
    enough_effective_rows,
)
