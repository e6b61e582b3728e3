"""One federated run, from the first message to the evaluated model; the same on every engine."""

from __future__ import annotations

import platform
import time
from dataclasses import replace
from datetime import datetime

import numpy as np

from fedrisk import __version__
from fedrisk.errors import FederationError, UsageError
from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.query import Query, Reply
from fedrisk.federation.strategies import STRATEGIES, Fit, Start
from fedrisk.models.checks import make_checks
from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.metrics import EvaluationSums, SiteEvaluation, overall_metrics
from fedrisk.models.newton import posterior_covariance
from fedrisk.models.summary import FeatureSummary, SiteCounts, reference, summary_dimensions
from fedrisk.study import Study
from fedrisk.study.training import TrainingRequest, TrainingResult

MODELS = ("logistic",)


def train(broadcast: Broadcast, now: datetime) -> TrainingResult:
    """Run the request: summary, fit by the strategy, evaluation at the sites.

    Parameters
    ----------
    broadcast : Broadcast
        The way to the sites; holds the request.
    now : datetime
        Recorded as the time of creation.

    Raises
    ------
    UsageError
        When model or strategy is unknown.
    FederationError
        When the run cannot be finished.
    """
    request = broadcast.request
    check_names(request.model, request.strategy)
    started = time.monotonic()
    query = Query("summary", request.study, request.run_id, request.as_of)
    summary, counts = _summarise(broadcast, query)
    query = replace(query, design=design_from_summary(request.study, summary))
    fit = STRATEGIES[request.strategy](Start(broadcast, query, summary))
    metrics, per_site = _evaluate(broadcast, query, fit)
    model = _model(query, fit, _about(request, now, counts, metrics))
    return TrainingResult(
        request=request,
        model=model.document(),
        reference=dict(reference(request.study, summary)),
        checks=make_checks(model),
        rounds=tuple(broadcast.rounds),
        seconds=time.monotonic() - started,
        rows=counts,
        metrics=metrics,
        per_site=per_site,
        warnings=_warnings(request.study, model, counts, fit),
        versions={"fedrisk": __version__, "python": platform.python_version()},
    )


def check_names(model: str, strategy: str) -> None:
    """Raise UsageError unless model and strategy are known."""
    if model not in MODELS:
        raise UsageError(f"unknown model {model!r}", hint=f"models: {', '.join(MODELS)}")
    if strategy not in STRATEGIES:
        raise UsageError(
            f"unknown strategy {strategy!r}", hint=f"strategies: {', '.join(STRATEGIES)}"
        )


def _summarise(
    broadcast: Broadcast, query: Query
) -> tuple[FeatureSummary, dict[str, dict[str, int]]]:
    replies = broadcast.ask(query)
    records = [reply.record(FeatureSummary, summary_dimensions(query.study)) for reply in replies]
    summary = records[0]
    for record in records[1:]:
        summary = summary + record
    counts = {reply.site: _counts(reply, query) for reply in replies}
    broadcast.annotate(
        {"rows": float(summary.rows), "events": float(summary.events)},
        {site: {"train": float(count["train"])} for site, count in counts.items()},
    )
    if not summary.rows > 0:
        raise FederationError(
            "no site has a training row that is labelled and mature",
            hint="`fedrisk study check` counts the rows and says why they are left out",
        )
    return summary, counts


def _counts(reply: Reply, query: Query) -> dict[str, int]:
    record = reply.record(SiteCounts, query.dimensions)
    figures = {name: int(a) for name, a in record.arrays().items() if name != "implausible"}
    return figures | {"implausible": int(record.implausible.sum())}


def _evaluate(
    broadcast: Broadcast, query: Query, fit: Fit
) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    question = replace(query, kind="evaluation", parameters=fit.parameters[None])
    replies = broadcast.ask(question)
    sums = [reply.record(EvaluationSums, question.dimensions) for reply in replies]
    pooled = sums[0]
    for record in sums[1:]:
        pooled = pooled + record
    metrics = overall_metrics(pooled)
    per_site = {
        reply.site: _site_figures(record, reply.record(SiteEvaluation, question.dimensions))
        for reply, record in zip(replies, sums, strict=True)
    }
    broadcast.annotate(
        {name: value for name, value in metrics.items() if value is not None},
        {s: {k: v for k, v in f.items() if v is not None} for s, f in per_site.items()},
    )
    return metrics, per_site


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


def _model(query: Query, fit: Fit, about: dict[str, object]) -> LogisticModel:
    if query.design is None:
        raise ValueError("a fitted query holds a design matrix")
    return LogisticModel(
        study=query.study,
        design=query.design,
        intercept=float(fit.parameters[0]),
        coefficients=fit.parameters[1:].copy(),
        covariance=posterior_covariance(fit.hessian, query.design.constant),
        about=about,
    )


def _about(
    request: TrainingRequest,
    now: datetime,
    counts: dict[str, dict[str, int]],
    metrics: dict[str, float | None],
) -> dict[str, object]:
    return {
        "name": request.study.name,
        "title": request.study.title,
        "run_id": request.run_id,
        "created": now.isoformat(timespec="seconds"),
        "strategy": request.strategy,
        "as_of": request.as_of,
        "sites": sorted(counts),
        "rows": {"train": sum(c["train"] for c in counts.values())},
        "metrics": metrics,
        "fedrisk": __version__,
    }


def _warnings(
    study: Study, model: LogisticModel, counts: dict[str, dict[str, int]], fit: Fit
) -> tuple[str, ...]:
    constant = [c.name for c in model.design.columns if c.constant and c.kind != "missing"]
    found = [f"column {name!r} is constant over all sites: held at zero" for name in constant]
    for site, count in counts.items():
        if count["train"] == 0:
            found.append(f"site {site!r} has no usable training row")
        if count["test_events"] == 0:
            found.append(f"site {site!r} has no event among its test rows: no AUROC of its own")
        if count["treated"] and study.treated:
            found.append(f"site {site!r}: {count['treated']} rows were treated because of a score")
    if not fit.converged:
        found.append("the strategy stops after a number of rounds; it does not solve to the end")
    if not np.all(np.isfinite(fit.parameters)):
        raise FederationError("the fit is not finite", hint="lower the strategy's step sizes")
    return tuple(found)
