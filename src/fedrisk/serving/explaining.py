"""Interval and contributions of one row in plain floats, without building arrays a feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, sqrt
from typing import Any

import numpy as np

from fedrisk.models.design_matrix import DesignColumn
from fedrisk.models.logistic import Z95, CategoryTerm, LogisticModel, NumberTerm
from fedrisk.study import NumberFeature, Study
from fedrisk.study.records import FloatArray


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a row has its score.

    Attributes
    ----------
    interval : (float, float)
        95 % credible interval of the risk, each between 0 and 1.
    intercept : float
        Log-odds of a person with average values.
    contributions : dict
        Log-odds that each feature adds; with the intercept they sum to the score's log-odds.
    """

    interval: tuple[float, float]
    intercept: float
    contributions: dict[str, float]

    def document(self) -> dict[str, Any]:
        """The explanation as JSON values."""
        return {
            "interval": list(self.interval),
            "intercept": self.intercept,
            "contributions": self.contributions,
        }


def sigmoid(logit: float) -> float:
    """Logistic function of one number, without overflow.

    >>> sigmoid(0.0), sigmoid(-800.0), sigmoid(800.0)
    (0.5, 0.0, 1.0)
    """
    if logit >= 0:
        return 1.0 / (1.0 + exp(-logit))
    small = exp(logit)
    return small / (1.0 + small)


@dataclass(frozen=True, slots=True)
class _Number:
    """A number's contribution, and its entries in the standardised row."""

    name: str
    term: NumberTerm
    mean: float
    inverse_scale: float
    present: tuple[float, ...]
    missing: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Category:
    """A category's contribution and entries by level; None is the missing one."""

    name: str
    effects: Mapping[str | None, float]
    entries: Mapping[str | None, tuple[float, ...]]


class RowExplainer:
    """A model made ready to explain one row at a time.

    The interval is ``logit +- 1.96 sqrt(x' S x)`` with the coefficients' covariance ``S``. It is
    kept as a factor, ``S = F F'``, so that a row costs one product with ``F``.

    Parameters
    ----------
    model : LogisticModel
    """

    def __init__(self, model: LogisticModel) -> None:
        self._intercept = model.intercept
        terms = model.terms()
        self._plans: list[_Number | _Category] = []
        for feature in model.study.features:
            columns = [c for c in model.design.columns if c.feature == feature.name]
            term = terms[feature.name]
            if isinstance(term, NumberTerm):
                self._plans.append(_number(feature.name, term, columns))
            else:
                self._plans.append(_category(model.study, feature.name, term, columns))
        self._factor = _factor(model.covariance)

    def explain(self, row: Mapping[str, Any]) -> Explanation:
        """Interval and contributions of one row, whose values are as `request` leaves them."""
        contributions: dict[str, float] = {}
        entries = [1.0]
        logit = self._intercept
        for plan in self._plans:
            value = row[plan.name]
            if isinstance(plan, _Category):
                effect = plan.effects[value]
                entries += plan.entries[value]
            elif value is None:
                effect = plan.term.missing
                entries += plan.missing
            else:
                centred = value - plan.mean
                effect = centred * plan.term.slope + plan.term.offset
                entries.append(centred * plan.inverse_scale)
                entries += plan.present
            contributions[plan.name] = effect
            logit += effect
        along = np.array(entries) @ self._factor
        spread = Z95 * sqrt(along @ along)
        interval = (sigmoid(logit - spread), sigmoid(logit + spread))
        return Explanation(interval, self._intercept, contributions)


def _factor(covariance: FloatArray) -> FloatArray:
    """``F`` with ``F F' = covariance``, also where that is singular, as for constant columns."""
    values, vectors = np.linalg.eigh(covariance)
    factor: FloatArray = vectors * np.sqrt(np.maximum(values, 0.0))
    return factor


def _entry(column: DesignColumn, raw: float) -> float:
    return 0.0 if column.constant else (raw - column.mean) / column.scale


def _number(name: str, term: NumberTerm, columns: list[DesignColumn]) -> _Number:
    value, *indicators = columns
    inverse = 0.0 if value.constant else 1.0 / value.scale
    present = tuple(_entry(column, 0.0) for column in indicators)
    missing = (_entry(value, value.fill), *(_entry(column, 1.0) for column in indicators))
    return _Number(name, term, value.mean, inverse, present, missing)


def _category(
    study: Study, name: str, term: CategoryTerm, columns: list[DesignColumn]
) -> _Category:
    feature = next(f for f in study.features if f.name == name)
    if isinstance(feature, NumberFeature):
        raise TypeError(f"{name!r} is a number with a category's term")
    levels: tuple[str | None, ...] = (*feature.levels, None)
    codes = [*range(len(feature.levels)), -1]
    entries = {
        level: tuple(_entry(column, _raw(column, code)) for column in columns)
        for level, code in zip(levels, codes, strict=True)
    }
    return _Category(name, dict(zip(levels, term.table.tolist(), strict=True)), entries)


def _raw(column: DesignColumn, code: int) -> float:
    """What a column holds for a level's code, -1 where the value is missing."""
    if column.kind == "missing":
        return float(code < 0)
    return column.fill if code < 0 else float(code == column.level)
