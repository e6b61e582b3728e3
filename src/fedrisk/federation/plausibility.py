"""Which answers cannot be true: sums that no rows of the study could give.

Bounds are inequalities that hold for every set of rows, with room for rounding alone. They find
broken and clumsy sites; a site that invents consistent rows is not found by any such rule. What a
site's disclosure rules withhold is no lie: a feature's bins may be empty as a whole, an evaluation
may say nothing (`fedrisk.sites.disclosure`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import EgressError
from fedrisk.federation.plausible_comparison import faults_of_counts, faults_of_placements
from fedrisk.federation.query import Query, Reply
from fedrisk.models.bins import feature_edges
from fedrisk.models.comparison import ComparisonCounts, PlacementSums
from fedrisk.models.descent import LocalUpdate
from fedrisk.models.metrics import LOG_LOSS_FLOOR, EvaluationSums, SiteEvaluation
from fedrisk.models.newton import NewtonSums
from fedrisk.models.summary import (
    FeatureSummary,
    SiteCounts,
    bins_by_feature,
    levels_by_feature,
    split_by_feature,
    study_centres,
)
from fedrisk.profiles.window_counts import WindowCounts
from fedrisk.study.records import FloatArray, Record

#: Room for rounding, relative to the size of what is compared.
TOLERANCE = 1e-9

#: Room in the variance of a column that is nearly constant: cancellation leaves it the rounding of
#: the mean square, and `fedrisk.models.design_matrix.CONSTANT` lets such columns through.
VARIANCE_SLACK = 1.1
#: Largest log loss of one row: risks are kept that far from 0 and 1.
LARGEST_LOSS = -float(np.log(LOG_LOSS_FLOOR)) * (1 + TOLERANCE)

#: Seconds since 1970 of the years 1 and 9999: what a calendar holds.
FIRST_SECOND, LAST_SECOND = -62_135_596_800.0, 253_402_300_799.0

#: The records that answer each kind of query; others are refused.
EXPECTED: dict[str, tuple[type[Record], ...]] = {
    "summary": (FeatureSummary, SiteCounts),
    "newton": (NewtonSums,),
    "descent": (LocalUpdate,),
    "evaluation": (EvaluationSums, SiteEvaluation),
    "profile": (WindowCounts,),
    "comparison": (ComparisonCounts,),
    "placement": (PlacementSums,),
}


@dataclass(frozen=True)
class Known:
    """What the coordinator knows of the sites once they have answered the summary.

    Attributes
    ----------
    counts : mapping of site to counts
        ``train``, ``train_events``, ``test``, ``test_events``: the same in every round of a run.
    rows : float
        Training rows behind the design matrix; infinite where it is of an earlier model, and what
        the columns of these rows sum to is bounded by nothing.
    """

    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rows: float = 0.0


def check_reply(reply: Reply, query: Query, known: Known) -> None:
    """Refuse an answer that cannot be true.

    Parameters
    ----------
    reply : Reply
    query : Query
        What was asked.
    known : Known
        What the site said before.

    Raises
    ------
    EgressError
        Names the site, the record and the rule that it breaks.
    """
    kinds = EXPECTED[query.kind]
    names = {name.partition("/")[0] for name in reply.arrays}
    _demand(reply, names == {kind.NAME for kind in kinds}, f"sent {sorted(names)}")
    records = {kind: reply.record(kind, query.dimensions) for kind in kinds}
    counts = known.counts.get(reply.site)
    if counts is not None and query.kind != "profile":  # counts all rows, labelled or not
        rows = counts["train"]
        _demand(reply, reply.rows == rows, f"had {rows} training rows before, now {reply.rows}")
    for kind in kinds:
        _RULES[kind](reply, records, query, known)


def _demand(reply: Reply, holds: bool | np.bool_ | NDArray[np.bool_], otherwise: str) -> None:
    if not holds:
        raise EgressError(f"site {reply.site!r}: implausible answer: {otherwise}")


def _counted(array: FloatArray) -> bool:
    return bool(np.all(array >= 0) and np.all(array == np.round(array)))


def _near(a: FloatArray | float, b: FloatArray | float, size: float) -> bool:
    return bool(np.all(np.abs(np.asarray(a) - np.asarray(b)) <= TOLERANCE * max(size, 1.0)))


Records = Mapping[type[Record], Record]
R = TypeVar("R", bound=Record)


def _of(records: Records, kind: type[R]) -> R:
    return cast("R", records[kind])


def _summary(reply: Reply, records: Records, query: Query, _known: Known) -> None:
    summary = _of(records, FeatureSummary)
    for name in ("rows", "events", "present", "bins", "levels"):
        _demand(reply, _counted(getattr(summary, name)), f"{name} holds no counts")
    rows = float(summary.rows)
    _demand(reply, summary.events <= rows, "more events than rows")
    _demand(reply, np.all(summary.present <= rows), "more values than rows")
    for place, (name, bins) in enumerate(bins_by_feature(query.study, summary).items()):
        same = bins.sum() == summary.present[place] or not bins.any()
        _demand(reply, same, f"bins of {name!r} do not sum to its values")
    for name, levels in levels_by_feature(query.study, summary).items():
        _demand(reply, levels.sum() <= rows, f"more levels of {name!r} than rows")
    _moments(reply, query, summary)


def _moments(reply: Reply, query: Query, summary: FeatureSummary) -> None:
    """Sums lie within the hard bounds, and the mean square is at least the squared mean."""
    _demand(reply, np.all(summary.squares >= 0), "a sum of squares is negative")
    study = query.study
    centres = study_centres(study) if query.centres is None else query.centres
    sums = (summary.present, summary.sums, summary.squares)
    for feature, centre, present, total, square in zip(study.numbers, centres, *sums, strict=True):
        room = TOLERANCE * (abs(total) + square + 1)
        low = -np.inf if feature.minimum is None or not present else feature.minimum - centre
        high = np.inf if feature.maximum is None or not present else feature.maximum - centre
        within = present * low - room <= total <= present * high + room if present else total == 0
        _demand(reply, within, f"the sum of {feature.name!r} is outside its bounds")
        enough = abs(total) <= np.sqrt(present) * np.sqrt(square) * (1 + TOLERANCE) + room
        _demand(reply, enough, f"the squares of {feature.name!r} are too small for its sum")


def _site_counts(reply: Reply, records: Records, _query: Query, _known: Known) -> None:
    counts, summary = _of(records, SiteCounts), _of(records, FeatureSummary)
    for name, array in counts.arrays().items():
        _demand(reply, _counted(array), f"{name} is no count")
    parts = counts.train + counts.test + counts.unlabelled + counts.immature
    _demand(reply, counts.rows == parts, "rows are not the sum of their parts")
    _demand(reply, counts.test_events <= counts.test, "more test events than test rows")
    _demand(reply, counts.treated <= counts.rows, "more treated rows than rows")
    _demand(reply, counts.train == summary.rows, "two numbers of training rows")
    _demand(reply, counts.train_events == summary.events, "two numbers of training events")
    _demand(reply, counts.train == reply.rows, "two numbers of training rows")


def _newton(reply: Reply, records: Records, _query: Query, known: Known) -> None:
    """Bounds for standardised columns ``x``: over all sites together ``sum x^2`` is the rows.

    So at one site ``sum x^2 <= all rows``; with ``|risk - outcome| <= 1`` Cauchy-Schwarz bounds a
    gradient by ``sqrt(own rows * all rows)``, and ``risk (1 - risk) <= 1/4`` bounds the Hessian.
    """
    sums = _of(records, NewtonSums)
    rows, everyone = float(sums.rows), max(known.rows, float(sums.rows))
    _demand(reply, rows == reply.rows, "two numbers of training rows")
    _demand(reply, np.all(sums.loss >= 0), "a loss is negative")
    bound = np.full(sums.gradient.shape[1], np.sqrt(rows * everyone * VARIANCE_SLACK))
    bound[0] = rows * (1 + TOLERANCE)
    _demand(reply, np.all(np.abs(sums.gradient) <= bound), "a gradient is beyond its rows")
    for hessian in sums.hessian:
        _hessian(reply, hessian, rows, everyone * VARIANCE_SLACK)


def _hessian(reply: Reply, hessian: FloatArray, rows: float, everyone: float) -> None:
    diagonal = np.diag(hessian)
    size = float(np.max(np.abs(hessian), initial=0.0))
    _demand(reply, _near(hessian, hessian.T, size), "the Hessian is not symmetric")
    _demand(reply, np.all(diagonal <= everyone / 4), "the Hessian is beyond its rows")
    _demand(reply, diagonal[0] <= rows / 4 * (1 + TOLERANCE), "the Hessian is beyond its rows")
    least = float(np.linalg.eigvalsh((hessian + hessian.T) / 2)[0])
    positive = least >= -TOLERANCE * max(size, 1.0)
    _demand(reply, positive, "the Hessian is not positive semi-definite")


def _descent(_reply: Reply, _records: Records, _query: Query, _known: Known) -> None:
    """Parameters that are finite and of the right shape are all that can be asked of one site."""


def _evaluation(reply: Reply, records: Records, _query: Query, known: Known) -> None:
    sums = _of(records, EvaluationSums)
    if not any(array.any() for array in sums.arrays().values()):
        return  # withheld: nothing is told, and nothing is added to the federation's figures
    rows = float(sums.rows)
    for name in ("rows", "events", "bin_rows", "bin_events"):
        _demand(reply, _counted(getattr(sums, name)), f"{name} holds no counts")
    _demand(reply, sums.events <= rows, "more events than rows")
    for name in ("expected", "squared_error"):
        inside = -TOLERANCE <= getattr(sums, name) <= rows * (1 + TOLERANCE)
        _demand(reply, inside, f"{name} is outside 0 to rows")
    inside = 0 <= sums.log_loss <= rows * LARGEST_LOSS
    _demand(reply, inside, "the log loss is negative or beyond its rows")
    _score_bins(reply, sums)
    counts = known.counts.get(reply.site)
    if counts is not None:
        same = (rows, float(sums.events)) == (counts["test"], counts["test_events"])
        _demand(reply, same, "other test rows or events than before")


def _score_bins(reply: Reply, sums: EvaluationSums) -> None:
    """Bins sum to the rows and events, and hold scores only where they hold rows."""
    _demand(reply, np.all(sums.bin_events <= sums.bin_rows), "more events than rows in a bin")
    empty = sums.bin_rows == 0
    _demand(reply, np.all(sums.bin_logits[empty] == 0), "scores in a bin without rows")
    _demand(reply, sums.bin_rows.sum() == sums.rows, "bins do not sum to the rows")
    _demand(reply, sums.bin_events.sum() == sums.events, "bins do not sum to the events")


def _own_figures(reply: Reply, records: Records, _query: Query, _known: Known) -> None:
    own, sums = _of(records, SiteEvaluation), _of(records, EvaluationSums)
    both = 0 < sums.events < sums.rows
    _demand(reply, own.defined == float(both), "an AUROC without both outcomes, or none with both")
    _demand(reply, 0 <= own.auroc <= 1, "an AUROC outside 0 to 1")
    error = own.auroc_standard_error
    _demand(reply, 0 <= error <= 1, "a standard error outside 0 to 1")


def _window_counts(reply: Reply, records: Records, query: Query, _known: Known) -> None:
    counts = _of(records, WindowCounts)
    for name in ("rows", "people", "days"):
        _demand(reply, _counted(getattr(counts, name)), f"{name} holds no counts")
    cells = counts.table[:, : counts.table.shape[1] - counts.moments.shape[1]]
    _demand(reply, _counted(cells), "a window holds no counts")
    _demand(reply, np.all(counts.people <= counts.rows), "more people than rows in a window")
    _demand(reply, np.all(counts.days <= counts.rows), "more days than rows in a window")
    _spans(reply, query, counts)
    _demand(reply, reply.rows == counts.rows.sum(), "two numbers of rows")
    _demand(reply, np.all(np.isin(counts.withheld, (0, 1))), "a window is withheld in part")
    _demand(reply, not np.any(counts.rows[counts.withheld == 1]), "a withheld window has rows")
    _features(reply, query, counts)
    scored = counts.scores.sum(axis=1)
    _demand(reply, np.all(scored <= counts.rows), "more scores than rows in a window")
    _demand(reply, query.parameters.size > 0 or not scored.any(), "scores without a model")
    _demand(reply, np.all(counts.labelled.sum(axis=1) <= scored), "more labels than scores")
    _demand(reply, np.all(counts.events <= counts.labelled), "more events than labels in a bin")
    complete = counts.moments[:, :1]  # each of the factors is between -1 and 1
    _demand(reply, np.all(complete[:, 0] <= counts.rows), "more complete rows than rows")
    _demand(reply, np.all(np.abs(counts.moments) <= complete), "moments are beyond their rows")


def _spans(reply: Reply, query: Query, counts: WindowCounts) -> None:
    """What was counted is a time, and ends in the window that was asked for."""
    start, end = counts.start, counts.end
    _demand(reply, np.all(start <= end), "a window ends before it starts")
    readable = np.all(start >= FIRST_SECOND) and np.all(end <= LAST_SECOND)
    _demand(reply, readable, "a window is of no time")
    if query.windows:
        asked = np.array([[_seconds(time) for time in window] for window in query.windows])
        inside = (end >= asked[:, 0] - 1) & (end <= asked[:, 1] + 1)
        _demand(reply, np.all(inside), "a window ends outside the one that was asked for")


def _seconds(text: str) -> float:
    """Seconds since 1970; a time without a zone is UTC."""
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _features(reply: Reply, query: Query, counts: WindowCounts) -> None:
    """Of no feature are there more values, missing and outside ones together, than rows."""
    study = query.study
    bins = split_by_feature(counts.bins, [len(feature_edges(f)) + 1 for f in study.numbers])
    levels = split_by_feature(counts.levels, [len(f.levels) for f in study.categories])
    names = [*(f.name for f in study.numbers), *(f.name for f in study.categories)]
    rest = dict(zip(study.feature_names, (counts.missing + counts.outside).T, strict=True))
    for name, held in zip(names, [*bins, *levels], strict=True):
        within = held.sum(axis=1) + rest[name] <= counts.rows
        _demand(reply, np.all(within), f"more values of {name!r} than rows in a window")


def _comparison(reply: Reply, records: Records, query: Query, _known: Known) -> None:
    untreated = bool(query.options.get("untreated"))
    counts, models = _of(records, ComparisonCounts), len(query.contenders)
    for fault in faults_of_counts(counts, models, untreated=untreated):
        _demand(reply, False, fault)


def _placement(reply: Reply, records: Records, _query: Query, _known: Known) -> None:
    for fault in faults_of_placements(_of(records, PlacementSums)):
        _demand(reply, False, fault)


_RULES: dict[type[Record], Callable[[Reply, Records, Query, Known], None]] = {
    FeatureSummary: _summary,
    SiteCounts: _site_counts,
    NewtonSums: _newton,
    LocalUpdate: _descent,
    EvaluationSums: _evaluation,
    SiteEvaluation: _own_figures,
    WindowCounts: _window_counts,
    ComparisonCounts: _comparison,
    PlacementSums: _placement,
}
