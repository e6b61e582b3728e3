"""The phases of one run: each asks the sites, or takes what a checkpoint has of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, Self

import numpy as np

from fedrisk import __version__
from fedrisk.errors import FederationError, QuorumError, SiteRefusedError, UsageError
from fedrisk.federation.broadcast import Asked, Broadcast
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.plausibility import Known
from fedrisk.federation.query import Query, Reply
from fedrisk.federation.run_state import Figures, RunState
from fedrisk.federation.strategies import STRATEGIES, Fit, Start
from fedrisk.models.design_matrix import DesignMatrix, design_from_summary
from fedrisk.models.metrics import EvaluationSums, SiteEvaluation, overall_metrics
from fedrisk.models.summary import (
    FeatureSummary,
    SiteCounts,
    better_centres,
    summary_dimensions,
)
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.window_counts import WindowCounts, site_windows
from fedrisk.study import Study
from fedrisk.study.training import TrainingRequest

#: Most weeks in a reference: every season, and the turn of the year; most blocks of all sites
#: together. Ten thousand blocks take about 30 MB of reference.json.
WEEKS, BLOCKS = 53, 10_600


@dataclass
class Run(Generic[Asked]):
    """A run that is kept after every round.

    Attributes
    ----------
    broadcast : Broadcast
    state : RunState
        What the finished rounds have brought.
    checkpoints : Checkpoints or None
    started : float
        Of this process's part, `time.monotonic`.
    before : float
        Seconds that earlier processes spent on the run.
    """

    broadcast: Broadcast[Asked]
    state: RunState
    checkpoints: Checkpoints | None
    started: float
    before: float

    @classmethod
    def begin(
        cls, broadcast: Broadcast[Asked], now: datetime, checkpoints: Checkpoints | None
    ) -> Self:
        """Begin the run, or take it up after its last finished round.

        Raises
        ------
        UsageError
            When the checkpoint is of another request.
        FederationError
            When it was written by another version, whose numbers may differ.
        """
        kept = None if checkpoints is None else checkpoints.load()
        state = RunState(created=now.isoformat(timespec="seconds"))
        if kept is not None:
            _check(kept, broadcast)
            state = RunState.from_document(kept["state"], broadcast.request.study)
            broadcast.restore(kept["conversation"])
        run = cls(broadcast, state, checkpoints, time.monotonic(), state.seconds)
        run._remember()
        return run

    @property
    def seconds(self) -> float:
        """Spent on the run so far, by this process and those before."""
        return self.before + time.monotonic() - self.started

    def keep(self) -> None:
        """Write a checkpoint, then tell whoever watches: what was told is never lost."""
        if self.checkpoints is not None:
            self.state.seconds = self.seconds
            self.checkpoints.save(
                {
                    "fedrisk": __version__,
                    "request": self.broadcast.request.model_dump(mode="json"),
                    "state": self.state.document(),
                    "conversation": self.broadcast.document(),
                }
            )
        self.broadcast.announce()

    def _remember(self) -> None:
        rows = 0.0 if self.state.summary is None else float(self.state.summary.rows)
        self.broadcast.known = Known(self.state.counts, rows)

    @property
    def refused(self) -> dict[str, str]:
        """Sites that were dropped so far, and why."""
        return {s: reason for each in self.broadcast.rounds for s, reason in each.dropped.items()}


class TrainingRun(Run[TrainingRequest]):
    """The phases of a training run."""

    def summarise(self, query: Query) -> tuple[FeatureSummary, DesignMatrix]:
        """First message: what the design matrix follows from.

        Where a number's variance lost its digits in sums about the study's centre, a second one
        asks for the sums about the means. It is the design of the sites that answered; it stays
        when one of them drops out later.

        Raises
        ------
        FederationError
            When no site has a usable training row.
        """
        state = self.state
        if state.summary is None:
            state.summary = self._ask_summary(query)
            state.design = _well_conditioned(query.study, state.summary)
            self.keep()
        if state.design is None:
            centres = better_centres(query.study, state.summary)
            question = query if centres is None else replace(query, parameters=centres[None])
            state.summary = self._ask_summary(question)
            state.design = design_from_summary(query.study, state.summary, centres)
            self.keep()
        return state.summary, state.design

    def _ask_summary(self, query: Query) -> FeatureSummary:
        replies = self.broadcast.ask(query)
        summary = _pooled(replies, query)
        self.state.counts = {reply.site: _counts(reply, query) for reply in replies}
        train = {site: {"train": float(c["train"])} for site, c in self.state.counts.items()}
        totals = {"rows": float(summary.rows), "events": float(summary.events)}
        self.broadcast.annotate(totals, train)
        self.broadcast.known = Known(self.state.counts, float(summary.rows))
        return summary

    def fit(self, query: Query, summary: FeatureSummary) -> Fit:
        """Messages of the strategy."""
        state = self.state
        if self.broadcast.request.base is not None:
            self.broadcast.known = Known(state.counts, np.inf)
        if state.fit is None:
            start = Start(self.broadcast, query, summary, self._keep_strategy, state.strategy)
            state.fit = STRATEGIES[self.broadcast.request.strategy](start)
            state.fitted = self.broadcast.rounds[-1].sites
            self.keep()
        return state.fit

    def evaluate(self, query: Query, fit: Fit) -> tuple[Figures, dict[str, Figures]]:
        """Last message: how good the model is on the sites' test rows."""
        state = self.state
        if state.metrics is None:
            question = replace(query, kind="evaluation", parameters=fit.parameters[None])
            replies = self.broadcast.ask(question)
            state.metrics, state.per_site = _evaluation(replies, question)
            self.broadcast.annotate(
                {name: value for name, value in state.metrics.items() if value is not None},
                {
                    s: {k: v for k, v in f.items() if v is not None}
                    for s, f in state.per_site.items()
                },
            )
            self.keep()
        return state.metrics, state.per_site

    def blocks(self, query: Query, fit: Fit) -> dict[str, Any]:
        """One more message: the reference's blocks, the sites' rows of each week of the training
        period, scored by the model; a document of `fedrisk.profiles.reference.Reference`.

        Who does not answer is missing in the reference, and takes nothing from the model.
        """
        state, study = self.state, query.study
        if "blocks" not in state.answers:
            weeks = max(1, min(WEEKS, BLOCKS // max(len(state.fitted), 1)))
            question = replace(
                query,
                kind="profile",
                parameters=fit.parameters[None],
                options={"weeks": float(weeks)} if study.time else {},
                until=query.until or _mature_until(query),
            )
            blocks = [
                window
                for reply in self._ask_whoever_answers(question)
                for window in site_windows(
                    study, reply.site, reply.record(WindowCounts, question.dimensions)
                )
                if window.profile.rows
            ]
            state.answers["blocks"] = Reference(study.hash, tuple(blocks)).document()
            self.keep()
        document: dict[str, Any] = state.answers["blocks"]
        return document

    def _ask_whoever_answers(self, query: Query) -> list[Reply]:
        """Ask for what the run can do without: no site has to answer."""
        roster = self.broadcast.roster
        quorum, roster.quorum = roster.quorum, 1
        try:
            return self.broadcast.ask(query)
        except (QuorumError, SiteRefusedError) as error:
            self.broadcast.unfinished = None
            self.state.answers["unanswered"] = error.message
            return []
        finally:
            roster.quorum = quorum

    def _keep_strategy(self, document: dict[str, Any]) -> None:
        self.state.strategy = document
        self.keep()


def _mature_until(query: Query) -> str:
    """Until when rows are mature: the end of the training period; empty without times."""
    if query.study.time is None:
        return ""
    return (datetime.fromisoformat(query.as_of) - query.study.maturity).isoformat()


def _check(kept: dict[str, Any], broadcast: Broadcast[Asked]) -> None:
    request = broadcast.request
    if kept["fedrisk"] != __version__:
        raise FederationError(
            f"run {request.run_id} was begun by fedrisk {kept['fedrisk']}, this is {__version__}",
            hint="take it up with that version, or start the run anew",
        )
    if kept["request"] != request.model_dump(mode="json"):
        raise UsageError(
            f"the checkpoint of run {request.run_id} is of another request",
            hint="a run is taken up with the study, sites and options that it began with",
        )


def _well_conditioned(study: Study, summary: FeatureSummary) -> DesignMatrix | None:
    if better_centres(study, summary) is not None:
        return None
    return design_from_summary(study, summary)


def _pooled(replies: list[Reply], query: Query) -> FeatureSummary:
    records = [reply.record(FeatureSummary, summary_dimensions(query.study)) for reply in replies]
    summary = records[0]
    for record in records[1:]:
        summary = summary + record
    if not summary.rows > 0:
        raise FederationError(
            "no site has a training row that is labelled and mature",
            hint="`fedrisk study check` counts the rows and says why they are left out",
        )
    return summary


def _evaluation(replies: list[Reply], question: Query) -> tuple[Figures, dict[str, Figures]]:
    sums = [reply.record(EvaluationSums, question.dimensions) for reply in replies]
    pooled = sums[0]
    for record in sums[1:]:
        pooled = pooled + record
    per_site = {
        reply.site: _site_figures(record, reply.record(SiteEvaluation, question.dimensions))
        for reply, record in zip(replies, sums, strict=True)
    }
    return overall_metrics(pooled), per_site


def _counts(reply: Reply, query: Query) -> dict[str, int]:
    record = reply.record(SiteCounts, query.dimensions)
    figures = {name: int(a) for name, a in record.arrays().items() if name != "implausible"}
    return figures | {"implausible": int(record.implausible.sum())}


def _site_figures(sums: EvaluationSums, own: SiteEvaluation) -> dict[str, float | None]:
    rows, expected = float(sums.rows), float(sums.expected)
    defined = bool(own.defined)
    return {
        "rows": rows,
        "events": float(sums.events),
        "auroc": float(own.auroc) if defined else None,
        "auroc_standard_error": float(own.auroc_standard_error) if defined else None,
        "brier": float(sums.squared_error) / rows if rows else None,
        "log_loss": float(sums.log_loss) / rows if rows else None,
        "observed_expected": float(sums.events) / expected if expected > 0 else None,
    }
