"""How far a run has come, as a document from which it goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedrisk.federation.strategies.base import Fit
from fedrisk.models.design_matrix import DesignMatrix
from fedrisk.models.summary import FeatureSummary, summary_dimensions
from fedrisk.study import Study

Figures = dict[str, float | None]


@dataclass
class RunState:
    """What the finished rounds of a run have brought.

    JSON gives float64 back to the last bit, so a run that goes on from `document` computes the same
    numbers. Nothing in a run is random at the coordinator; the request keeps the seed.

    Attributes
    ----------
    created : str
        When the run began, ISO 8601.
    seconds : float
        Spent by processes that came before.
    summary : FeatureSummary or None
        Of all sites that answered the first message, or its repetition about other centres.
    design : DesignMatrix or None
        What follows from it; none while the summary has to be asked about other centres.
    counts : dict of site to counts
    strategy : dict or None
        The strategy's own state after its last round.
    fit : Fit or None
    fitted : tuple of str
        The sites whose rows are in the fit.
    metrics, per_site : dict or None
        The evaluation.
    answers : dict of kind to JSON values
        What finished messages of a run that fits nothing have brought.
    """

    created: str
    seconds: float = 0.0
    summary: FeatureSummary | None = None
    design: DesignMatrix | None = None
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    strategy: dict[str, Any] | None = None
    fit: Fit | None = None
    fitted: tuple[str, ...] = ()
    metrics: Figures | None = None
    per_site: dict[str, Figures] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The state as JSON values."""
        summary = None if self.summary is None else self.summary.arrays()
        return {
            "created": self.created,
            "seconds": self.seconds,
            "summary": summary and {name: array.tolist() for name, array in summary.items()},
            "design": None if self.design is None else self.design.document(),
            "counts": self.counts,
            "strategy": self.strategy,
            "fit": None if self.fit is None else _fit_document(self.fit),
            "fitted": list(self.fitted),
            "metrics": self.metrics,
            "per_site": self.per_site,
            "answers": self.answers,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], study: Study) -> RunState:
        """Rebuild from `document`."""
        summary, design, fit = (document[name] for name in ("summary", "design", "fit"))
        arrays = {name: np.array(value, np.float64) for name, value in (summary or {}).items()}
        return cls(
            created=document["created"],
            seconds=document["seconds"],
            summary=None
            if summary is None
            else FeatureSummary.from_arrays(arrays, summary_dimensions(study)),
            design=None if design is None else DesignMatrix.from_document(design),
            counts=document["counts"],
            strategy=document["strategy"],
            fit=None if fit is None else _fit(fit),
            fitted=tuple(document["fitted"]),
            metrics=document["metrics"],
            per_site=document["per_site"],
            answers=document.get("answers", {}),
        )


def _fit_document(fit: Fit) -> dict[str, Any]:
    return {
        "parameters": fit.parameters.tolist(),
        "hessian": fit.hessian.tolist(),
        "converged": fit.converged,
        "notes": dict(fit.notes),
        "covariance": None if fit.covariance is None else fit.covariance.tolist(),
    }


def _fit(document: Mapping[str, Any]) -> Fit:
    names = ("parameters", "hessian", "covariance")
    given = {name: document[name] for name in names if document.get(name) is not None}
    return Fit(**{**document, **{n: np.array(v, np.float64) for n, v in given.items()}})
