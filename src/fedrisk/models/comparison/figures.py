"""What a comparison says: each model's figures, differences, groups, net benefit, churn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fedrisk.errors import FederationError


@dataclass(frozen=True)
class Estimate:
    """A figure and its standard error; the error is None where rows do not determine it."""

    value: float
    se: float | None


@dataclass(frozen=True)
class ModelFigures:
    """One model on all rows that were compared; None where the rows do not determine a figure.

    Attributes
    ----------
    auroc, brier, log_loss : Estimate or None
    observed_expected : Estimate or None
        Events over expected events; the error is that of its logarithm.
    calibration_intercept, calibration_slope : Estimate or None
        Of the outcome's logistic regression on the score (Cox 1958); 0 and 1 are perfect.
    """

    auroc: Estimate | None
    brier: Estimate | None
    log_loss: Estimate | None
    observed_expected: Estimate | None
    calibration_intercept: Estimate | None
    calibration_slope: Estimate | None


@dataclass(frozen=True)
class Difference:
    """Challenger less champion on the same rows; of the losses, below zero is better.

    Attributes
    ----------
    auroc, brier, log_loss : Estimate or None
    net_benefit : mapping of "medium" and "high" to Estimate
        At the lower limit of each band, in true positives a row (Vickers and Elkin, Medical
        Decision Making 2006;26:565); of all rows alone, empty in a group.
    """

    auroc: Estimate | None
    brier: Estimate | None
    log_loss: Estimate | None
    net_benefit: Mapping[str, Estimate]


@dataclass(frozen=True)
class GroupFigures:
    """One model on one group of rows: a season, a subgroup, a site.

    Attributes
    ----------
    rows, events, people : float
    auroc : Estimate or None
        Within sites, pooled over them (van Elteren's weights).
    brier, log_loss, observed_expected : Estimate or None
    difference : Difference
        To the champion; zero for the champion itself.
    """

    rows: float
    events: float
    people: float
    auroc: Estimate | None
    brier: Estimate | None
    log_loss: Estimate | None
    observed_expected: Estimate | None
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """Models compared on the same rows of all sites; the first model is the champion.

    Attributes
    ----------
    study : str
        Hash of the study.
    rows, events, people, days : float
        What was judged. Days of different sites are different days.
    effective_rows, effective_events : float
        What they are worth: fewer than ``rows`` where untreated rows stand for treated ones.
    treated, treated_events : float
        Rows where a score led to care, and events among them, whether they were judged or not.
    treated_expected : float
        Events among the treated rows that the champion expects.
    untreated : bool
        Whether untreated rows alone were judged.
    bands : mapping of risk level to {"rows", "treated", "events"}
        By the champion.
    models : mapping of name to ModelFigures
    differences : mapping of challenger's name to Difference
    log_loss_covariance : mapping of name to mapping of name to float
        Covariance of the models' log losses, for differences between challengers; empty where it is
        not known.
    groups : mapping of group to mapping of model to GroupFigures
        ``season:DJF``, ``site:north``, ``sex:female``; a group that every site withheld is absent.
    net_benefit : mapping of model to mapping of "medium" and "high" to Estimate
    churn : mapping of challenger to (3, 3) rows
        Rows by the champion's risk level (first) and the challenger's, low to high.
    """

    study: str
    rows: float
    events: float
    people: float
    days: float
    effective_rows: float
    effective_events: float
    treated: float
    treated_events: float
    treated_expected: float
    untreated: bool
    bands: Mapping[str, Mapping[str, float]]
    models: Mapping[str, ModelFigures]
    differences: Mapping[str, Difference]
    log_loss_covariance: Mapping[str, Mapping[str, float]]
    groups: Mapping[str, Mapping[str, GroupFigures]]
    net_benefit: Mapping[str, Mapping[str, Estimate]]
    churn: Mapping[str, tuple[tuple[float, ...], ...]]

    @property
    def champion(self) -> str:
        """Name of the first model."""
        return next(iter(self.models))

    @property
    def challengers(self) -> tuple[str, ...]:
        """Names of the other models, in order."""
        return tuple(self.models)[1:]

    def document(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        document: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Comparison:
        """Rebuild from `document`.

        Raises
        ------
        FederationError
            When it is no such document.
        """
        try:
            return _ADAPTER.validate_python(dict(document))
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"])
            raise FederationError(f"not a comparison: {place}: {problem['msg']}") from None


_ADAPTER = TypeAdapter(Comparison)
