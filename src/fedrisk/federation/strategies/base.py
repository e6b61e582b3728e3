"""What a strategy is: from the sites' summary to fitted parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.query import Query
from fedrisk.models.design_matrix import DesignMatrix
from fedrisk.models.newton import NewtonSums
from fedrisk.models.summary import FeatureSummary
from fedrisk.study import Study
from fedrisk.study.records import FloatArray
from fedrisk.study.training import TrainingRequest


def forget(_state: Mapping[str, Any]) -> None:
    """Keep no state."""


@dataclass(frozen=True)
class Start:
    """What every strategy starts from.

    Attributes
    ----------
    broadcast : Broadcast
        The way to the sites.
    query : Query
        A query with study, run and design filled in; strategies replace kind and parameters.
    summary : FeatureSummary
        Of all sites' training rows.
    keep : callable
        To be called after each round with the strategy's state as JSON values: all it needs to go
        on from there.
    kept : mapping or None
        What was last kept, when the run is taken up again.
    """

    broadcast: Broadcast[TrainingRequest]
    query: Query
    summary: FeatureSummary
    keep: Callable[[dict[str, Any]], None] = forget
    kept: Mapping[str, Any] | None = None

    @property
    def study(self) -> Study:
        return self.query.study

    @property
    def design(self) -> DesignMatrix:
        if self.query.design is None:
            raise ValueError("a strategy starts with a design matrix")
        return self.query.design

    @property
    def rows(self) -> float:
        return float(self.summary.rows)

    @property
    def prevalence(self) -> float:
        return float(self.summary.events) / self.rows


@dataclass(frozen=True)
class Fit:
    """What every strategy brings.

    Attributes
    ----------
    parameters : (1 + columns,) array
        Intercept and standardised coefficients.
    hessian : (fitted, fitted) array
        Penalised Hessian there, of what was fitted: of all parameters, unless the strategy says
        otherwise.
    converged : bool
    notes : mapping
        Figures for the model card.
    covariance : (1 + columns, 1 + columns) array or None
        Of the parameters, where it is not the inverse of the Hessian.
    """

    parameters: FloatArray
    hessian: FloatArray
    converged: bool
    notes: Mapping[str, float] = field(default_factory=dict)
    covariance: FloatArray | None = None


class Strategy(Protocol):
    """Fit the parameters by asking the sites."""

    def __call__(self, start: Start) -> Fit: ...


def sums_at(start: Start, parameters: FloatArray) -> NewtonSums:
    """Loss, gradient and Hessian at ``(candidates, parameters)`` over the sites that answer.

    Who that is, the record of the last round tells.
    """
    query = replace(start.query, kind="newton", parameters=parameters)
    replies = start.broadcast.ask(query)
    records = [reply.record(NewtonSums, query.dimensions) for reply in replies]
    pooled = records[0]
    for record in records[1:]:
        pooled = pooled + record
    start.broadcast.annotate(
        {"loss_per_row": float(pooled.loss[0]) / max(float(pooled.rows), 1.0)},
        {
            reply.site: {"loss_per_row": float(record.loss[0]) / max(float(record.rows), 1.0)}
            for reply, record in zip(replies, records, strict=True)
        },
    )
    return pooled
