"""How a site answers each kind of query: from its cohort to declared records."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedrisk.errors import FederationError
from fedrisk.federation.query import Query
from fedrisk.models.comparison import ComparedRows, PooledScores, comparison_counts, placement_sums
from fedrisk.models.descent import descend
from fedrisk.models.metrics import evaluation_sums, site_evaluation
from fedrisk.models.newton import newton_sums
from fedrisk.models.summary import SiteCounts, summarise
from fedrisk.sites.cohort import Cohort
from fedrisk.sites.compared import compared_rows
from fedrisk.study.records import BoolArray, FloatArray, Record, total

Answer = Callable[[Cohort, Query], list[Record]]


def answer(cohort: Cohort, query: Query) -> list[Record]:
    """Answer a query from this cohort's rows.

    Raises
    ------
    FederationError
        When the query's kind is unknown to this version.
    """
    if query.kind not in ANSWERS:
        raise FederationError(f"unknown query {query.kind!r}", hint="update fedrisk at this site")
    return ANSWERS[query.kind](cohort, query)


def _summary(cohort: Cohort, query: Query) -> list[Record]:
    columns, events = cohort.part(test=False)
    _, test_events = cohort.part(test=True)
    counts = cohort.counts
    site_counts = SiteCounts(
        rows=total(counts.rows),
        train=total(len(events)),
        train_events=total(events.sum()),
        test=total(len(test_events)),
        test_events=total(test_events.sum()),
        unlabelled=total(counts.unlabelled),
        immature=total(counts.immature),
        treated=total(counts.treated),
        implausible=np.array(
            [counts.implausible.get(f.name, 0) for f in query.study.numbers], np.float64
        ),
    )
    return [summarise(query.study, columns, events, query.centres), site_counts]


def _newton(cohort: Cohort, query: Query) -> list[Record]:
    matrix, events = _design(cohort, query, test=False)
    return [newton_sums(matrix, events, query.parameters)]


def _descent(cohort: Cohort, query: Query) -> list[Record]:
    missing = {"local-steps", "learning-rate", "ridge"} - set(query.options)
    if missing:
        raise FederationError(f"options are missing: {', '.join(sorted(missing))}")
    matrix, events = _design(cohort, query, test=False)
    update = descend(
        matrix,
        events,
        query.parameters[0],
        steps=int(query.options["local-steps"]),
        learning_rate=query.options["learning-rate"],
        ridge=query.options["ridge"],
        proximal=query.options.get("proximal-mu", 0.0),
    )
    return [update]


def _evaluation(cohort: Cohort, query: Query) -> list[Record]:
    matrix, events = _design(cohort, query, test=True)
    logit = query.parameters[0][0] + matrix @ query.parameters[0][1:]
    return [evaluation_sums(logit, events), site_evaluation(logit, events)]


def _comparison(cohort: Cohort, query: Query) -> list[Record]:
    return [comparison_counts(_compared(cohort, query))]


def _placement(cohort: Cohort, query: Query) -> list[Record]:
    pooled = PooledScores.from_array(query.parameters)
    return [placement_sums(_compared(cohort, query), pooled)]


def _compared(cohort: Cohort, query: Query) -> ComparedRows:
    return compared_rows(cohort, query.contenders, untreated=bool(query.options.get("untreated")))


def _design(cohort: Cohort, query: Query, *, test: bool) -> tuple[FloatArray, BoolArray]:
    if query.design is None:
        raise FederationError(f"query {query.kind!r} came without a design matrix")
    columns, events = cohort.part(test=test)
    return query.design.transform(columns), events


#: Every question a site answers; nothing else leaves it.
ANSWERS: dict[str, Answer] = {
    "summary": _summary,
    "newton": _newton,
    "descent": _descent,
    "evaluation": _evaluation,
    "comparison": _comparison,
    "placement": _placement,
}
