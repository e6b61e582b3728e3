"""Models compared on the same test rows of every site, by two messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from fedrisk.errors import FederationError, UsageError
from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.query import Query, Reply
from fedrisk.federation.run import Run
from fedrisk.models.comparison import (
    ComparisonCounts,
    PlacementSums,
    PooledScores,
    comparison_dimensions,
    pool_comparison,
)
from fedrisk.models.comparison.pooling import added
from fedrisk.models.contender import Contender
from fedrisk.models.logistic import LogisticModel
from fedrisk.study.questions import ComparisonRequest, ComparisonResult

Kept = dict[str, dict[str, Any]]


def compare(
    broadcast: Broadcast[ComparisonRequest], now: datetime, checkpoints: Checkpoints | None = None
) -> ComparisonResult:
    """Run the request.

    Scores over all sites are those of the sites that answer, so a site that drops out at the second
    message costs one more of them, about the sites that are left.

    Parameters
    ----------
    broadcast : Broadcast
        The way to the sites; holds the request.
    now : datetime
        Recorded as the time of creation.
    checkpoints : Checkpoints, optional
        Where the run is kept after every round, and taken up from.

    Raises
    ------
    UsageError
        When a model is of another study, or the checkpoint of another request.
    ModelFileError
        When a model's document is damaged.
    FederationError
        When the run cannot be finished.
    HomeError
        When a checkpoint cannot be written.
    """
    request = broadcast.request
    run = Run.begin(broadcast, now, checkpoints)
    query = _query(request)
    counts = _counts(run, query)
    placements = _placements(run, query, counts)
    comparison = pool_comparison(
        request.study,
        tuple(request.models),
        {site: counts[site] for site in placements},
        placements,
        untreated=request.untreated,
    )
    if not comparison.rows:
        raise FederationError(
            "no site has a test row that is labelled, mature and within the window",
            hint="wait for labels, widen the window, or look at the sites' least test rows",
        )
    return ComparisonResult(
        request=request,
        comparison=comparison.document(),
        refused=run.refused,
        seconds=run.seconds,
        rounds=tuple(broadcast.rounds),
        warnings=_silent(counts, placements),
    )


def _query(request: ComparisonRequest) -> Query:
    return Query(
        "comparison",
        request.study,
        request.run_id,
        request.as_of,
        options={"untreated": 1.0} if request.untreated else {},
        since=request.since or "",
        until=request.until or "",
        contenders=tuple(
            Contender.of(name, model_of(document, request.study.hash, name))
            for name, document in request.models.items()
        ),
    )


def model_of(document: dict[str, Any], study: str, name: str) -> LogisticModel:
    """A model from its document, of the study with this hash.

    Raises
    ------
    ModelFileError
        When the document is damaged.
    UsageError
        When the model is of another study: its columns mean something else.
    """
    model = LogisticModel.from_document(document)
    if model.study.hash != study:
        raise UsageError(
            f"model {name!r} is of study {model.study.hash[:12]}, the question of {study[:12]}",
            hint="ask about the version of the study that the model was fitted with",
        )
    return model


def _counts(run: Run[ComparisonRequest], query: Query) -> dict[str, ComparisonCounts]:
    """First message, or what a checkpoint has of it."""
    answers = run.state.answers
    if query.kind not in answers:
        replies = run.broadcast.ask(query)
        counts = {reply.site: reply.record(ComparisonCounts, query.dimensions) for reply in replies}
        run.broadcast.annotate(
            {"rows": sum(float(each.rows[0]) for each in counts.values())},
            {site: {"rows": float(each.rows[0])} for site, each in counts.items()},
        )
        answers[query.kind] = _document(counts)
        run.keep()
    lengths = comparison_dimensions(query.study, len(query.contenders))
    return {
        site: ComparisonCounts.from_arrays(_arrays(kept), lengths)
        for site, kept in answers[query.kind].items()
    }


def _placements(
    run: Run[ComparisonRequest], query: Query, counts: dict[str, ComparisonCounts]
) -> dict[str, PlacementSums]:
    """Second message, asked again about the sites that are left where one dropped out."""
    asked, sites = run.broadcast, tuple(sorted(counts))
    kept = run.state.answers.get("placement")
    lengths = comparison_dimensions(query.study, len(query.contenders))
    if kept is not None:
        return {s: PlacementSums.from_arrays(_arrays(k), lengths) for s, k in kept.items()}
    while True:
        if asked.roster.active is not None:  # also who dropped out before the run was taken up
            sites = tuple(site for site in sites if site in asked.roster.active)
        pooled = PooledScores.of(added(counts[site] for site in sites))
        question = replace(query, kind="placement", parameters=pooled.array())
        replies: list[Reply] = asked.ask(question)
        sums = {reply.site: reply.record(PlacementSums, question.dimensions) for reply in replies}
        if tuple(sorted(sums)) == sites:
            run.state.answers["placement"] = _document(sums)
            run.keep()
            return sums
        run.keep()


def _silent(
    counts: dict[str, ComparisonCounts], placements: dict[str, PlacementSums]
) -> tuple[str, ...]:
    return tuple(
        f"site {site!r} tells nothing: it has too few test rows, or none, in the window"
        for site in placements
        if not counts[site].rows[0]
    )


def _document(records: dict[str, Any]) -> Kept:
    return {site: {n: a.tolist() for n, a in r.arrays().items()} for site, r in records.items()}


def _arrays(kept: dict[str, Any]) -> dict[str, Any]:
    return {name: np.array(values, np.float64) for name, values in kept.items()}
