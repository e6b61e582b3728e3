"""One federated run, from the first message to the evaluated model; the same on every engine."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from fedrisk import __version__
from fedrisk.errors import FederationError, UsageError
from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.query import Query
from fedrisk.federation.run import TrainingRun
from fedrisk.federation.strategies import FROM_BASE, STRATEGIES, Fit
from fedrisk.federation.strategies.options import check_options
from fedrisk.models.checks import make_checks
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.newton import posterior_covariance
from fedrisk.models.summary import reference
from fedrisk.study import Study
from fedrisk.study.training import RoundRecord, TrainingRequest, TrainingResult

MODELS = ("logistic",)


def train(
    broadcast: Broadcast[TrainingRequest], now: datetime, checkpoints: Checkpoints | None = None
) -> TrainingResult:
    """Run the request: summary, fit by the strategy, evaluation and reference at the sites.

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
        When model, strategy or one of its options is unknown, an option is outside its range, or
        the checkpoint is of another request.
    FederationError
        When the run cannot be finished.
    HomeError
        When a checkpoint cannot be written.
    """
    request = broadcast.request
    check_names(request.model, request.strategy, request.options)
    base = base_of(request)
    run = TrainingRun.begin(broadcast, now, checkpoints)
    query = Query(
        "summary",
        request.study,
        request.run_id,
        request.as_of,
        model=request.model,
        strategy=request.strategy,
        since=request.since or "",
        until=request.until or "",
    )
    summary, design = run.summarise(query)
    query = replace(query, design=design if base is None else base.design)
    fit = run.fit(query, summary)
    metrics, per_site = run.evaluate(query, fit)
    blocks = run.blocks(query, fit)
    state = run.state
    counts = {site: state.counts[site] for site in state.fitted}
    model = _model(query, fit, _about(request, state.created, counts, metrics))
    return TrainingResult(
        request=request,
        model=model.document(),
        reference={**reference(request.study, summary), "blocks": blocks},
        checks=make_checks(model),
        rounds=tuple(broadcast.rounds),
        seconds=run.seconds,
        rows=counts,
        metrics=metrics,
        per_site=per_site,
        warnings=(
            *_warnings(request.study, model, counts, fit, broadcast.rounds),
            *_unanswered(state.answers),
        ),
        versions={"fedrisk": __version__, "python": platform.python_version()},
    )


def check_names(model: str, strategy: str, options: Mapping[str, float]) -> None:
    """Raise UsageError unless model, strategy and its options are known, and these in range."""
    if model not in MODELS:
        raise UsageError(f"unknown model {model!r}", hint=f"models: {', '.join(MODELS)}")
    if strategy not in STRATEGIES:
        raise UsageError(
            f"unknown strategy {strategy!r}", hint=f"strategies: {', '.join(STRATEGIES)}"
        )
    check_options(strategy, options)


def base_of(request: TrainingRequest) -> LogisticModel | None:
    """The model that the request's strategy starts from; None where it starts from none.

    Raises
    ------
    UsageError
        When there is no such model, or one too much, or it is of another study.
    ModelFileError
        When its document is damaged.
    """
    needed = request.strategy in FROM_BASE
    if request.base is None:
        if needed:
            raise UsageError(f"strategy {request.strategy!r} needs a base model")
        return None
    if not needed:
        raise UsageError(f"strategy {request.strategy!r} takes no base model")
    base = LogisticModel.from_document(request.base)
    if base.study.hash != request.study.hash:
        raise UsageError(
            f"the base model is of study {base.study.hash[:12]}, the run of "
            f"{request.study.hash[:12]}",
            hint="fit a new model: columns of another version of the study mean something else",
        )
    return base


def _model(query: Query, fit: Fit, about: dict[str, object]) -> LogisticModel:
    if query.design is None:
        raise ValueError("a fitted query holds a design matrix")
    return LogisticModel(
        study=query.study,
        design=query.design,
        intercept=float(fit.parameters[0]),
        coefficients=fit.parameters[1:].copy(),
        covariance=posterior_covariance(fit.hessian, query.design.constant)
        if fit.covariance is None
        else fit.covariance,
        about=about,
    )


def _about(
    request: TrainingRequest,
    created: str,
    counts: dict[str, dict[str, int]],
    metrics: dict[str, float | None],
) -> dict[str, object]:
    return {
        "name": request.study.name,
        "title": request.study.title,
        "run_id": request.run_id,
        "created": created,
        "strategy": request.strategy,
        "base": None if request.base is None else request.base["about"].get("run_id"),
        "as_of": request.as_of,
        "since": request.since,
        "until": request.until,
        "sites": sorted(counts),
        "rows": {"train": sum(c["train"] for c in counts.values())},
        "metrics": metrics,
        "fedrisk": __version__,
    }


def _warnings(
    study: Study,
    model: LogisticModel,
    counts: dict[str, dict[str, int]],
    fit: Fit,
    rounds: Sequence[RoundRecord],
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
    for record in rounds:
        found += [
            f"dropped from round {record.number} ({record.kind}) on: {reason}"
            for reason in record.dropped.values()
        ]
    if not fit.converged:
        found.append("the strategy stops after a number of rounds; it does not solve to the end")
    if not np.all(np.isfinite(fit.parameters)):
        raise FederationError("the fit is not finite", hint="lower the strategy's step sizes")
    return tuple(found)


def _unanswered(answers: Mapping[str, Any]) -> list[str]:
    reason = answers.get("unanswered")
    return [f"the reference has no blocks to judge drift by: {reason}"] if reason else []
