"""Logistic regression as it is stored, read by people, and scored.

The risk is ``1 / (1 + exp(-logit))``; the logit is the intercept plus the features' contributions.
A contribution is measured in log-odds against a person with average values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedrisk.errors import ModelFileError, StudyError
from fedrisk.models.design_matrix import DesignColumn, DesignMatrix
from fedrisk.study import CategoryFeature, Feature, Study, parse_study
from fedrisk.study.records import CodeArray, Columns, FloatArray

FORMAT = 1
#: Two-sided 95 % quantile of the normal distribution.
Z95 = 1.959963984540054


def expit(logit: FloatArray) -> FloatArray:
    """Logistic function, without overflow.

    >>> expit(np.array([0.0, 800.0, -800.0])).tolist()
    [0.5, 1.0, 0.0]
    """
    small = np.exp(-np.abs(logit))
    risk: FloatArray = np.where(logit >= 0, 1.0, small) / (1.0 + small)
    return risk


@dataclass(frozen=True, slots=True)
class NumberTerm:
    """Contribution of a number: ``offset + slope * (value - mean)``, or ``missing``."""

    mean: float
    slope: float
    offset: float
    missing: float

    def __call__(self, values: FloatArray) -> FloatArray:
        effect = (values - self.mean) * self.slope + self.offset
        return np.where(np.isnan(values), self.missing, effect)


@dataclass(frozen=True, slots=True)
class CategoryTerm:
    """Contribution of a category: one entry a level, the last one for a missing value (-1)."""

    table: FloatArray

    def __call__(self, codes: CodeArray) -> FloatArray:
        return self.table[codes]


Term = NumberTerm | CategoryTerm


@dataclass(frozen=True)
class LogisticModel:
    """A fitted model.

    Attributes
    ----------
    study : Study
    design : DesignMatrix
    intercept : float
        Log-odds of a person with average values.
    coefficients : (columns,) array
        Log-odds for one standard deviation of a column.
    covariance : (1 + columns, 1 + columns) array
        Of intercept and coefficients: inverse of the penalised information at the solution, the
        Bayesian posterior covariance of Wood, Generalized Additive Models, 2nd ed. (2017), 6.10.
    about : dict
        Name, version, run, rows, metrics: for people and for the registry.
    """

    study: Study
    design: DesignMatrix
    intercept: float
    coefficients: FloatArray
    covariance: FloatArray
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def standard_errors(self) -> FloatArray:
        """Of intercept and coefficients, ``(1 + columns,)``; zero for constant columns."""
        return np.sqrt(np.diag(self.covariance))

    def terms(self) -> dict[str, Term]:
        """Each feature's contribution as a function of its values."""
        return {f.name: self._term(f) for f in self.study.features}

    def _term(self, feature: Feature) -> Term:
        pairs = [
            (column, float(weight))
            for column, weight in zip(self.design.columns, self.coefficients, strict=True)
            if column.feature == feature.name
        ]
        if isinstance(feature, CategoryFeature):
            codes = np.append(np.arange(len(feature.levels)), -1).astype(np.int32)
            effects = [_effect(c, w, {feature.name: codes}) for c, w in pairs]
            return CategoryTerm(np.sum(effects, axis=0))
        value, weight = pairs[0]
        at = {feature.name: np.array([value.mean, np.nan])}
        present, missing = np.sum([_effect(c, w, at) for c, w in pairs], axis=0)
        slope = 0.0 if value.constant else weight / value.scale
        return NumberTerm(value.mean, slope, float(present), float(missing))

    def contributions(self, columns: Columns) -> dict[str, FloatArray]:
        """Log-odds that each feature adds, ``(rows,)`` each; intercept added, they sum to logit."""
        return {name: term(columns[name]) for name, term in self.terms().items()}

    def logit(self, columns: Columns) -> FloatArray:
        """Log-odds of an event, ``(rows,)``."""
        parts = self.contributions(columns)
        logit: FloatArray = self.intercept + np.sum(list(parts.values()), axis=0)
        return logit

    def risk(self, columns: Columns) -> FloatArray:
        """Probability of an event, ``(rows,)``, between 0 and 1."""
        return expit(self.logit(columns))

    def interval(self, columns: Columns) -> tuple[FloatArray, FloatArray]:
        """95 % credible interval of the risk, lower and upper, ``(rows,)`` each."""
        matrix = self.design.transform(columns)
        matrix = np.hstack([np.ones((len(matrix), 1)), matrix])
        logit = matrix @ np.concatenate([[self.intercept], self.coefficients])
        variance = np.sum((matrix @ self.covariance) * matrix, axis=1)
        spread = Z95 * np.sqrt(np.maximum(variance, 0.0))
        return expit(logit - spread), expit(logit + spread)

    def document(self) -> dict[str, Any]:
        """The model as JSON values: what model.json holds."""
        errors = self.standard_errors
        units = {feature.name: feature.unit for feature in self.study.features}
        return {
            "format": FORMAT,
            "kind": "logistic",
            "about": dict(self.about),
            "study": self.study.model_dump(mode="json"),
            "study_hash": self.study.hash,
            "intercept": self.intercept,
            "intercept_standard_error": float(errors[0]),
            "columns": [
                entry
                | {
                    "unit": units[entry["feature"]] if entry["kind"] == "value" else "",
                    "coefficient": float(weight),
                    "standard_error": float(error),
                    "odds_ratio_per_unit": _odds_ratio(weight / entry["scale"]),
                }
                for entry, weight, error in zip(
                    self.design.document(), self.coefficients, errors[1:], strict=True
                )
            ],
            "covariance": self.covariance.tolist(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> LogisticModel:
        """Rebuild from `document`.

        Raises
        ------
        ModelFileError
            When the document is damaged, of a newer format, or of another kind.
        """
        try:
            if document["kind"] != "logistic" or document["format"] > FORMAT:
                raise ModelFileError(
                    f"model of kind {document['kind']!r}, format {document['format']}: "
                    f"this version reads logistic models up to format {FORMAT}"
                )
            keys = DesignColumn.__dataclass_fields__
            entries = [{k: e[k] for k in keys} for e in document["columns"]]
            model = cls(
                study=parse_study(document["study"], "model's study"),
                design=DesignMatrix.from_document(entries),
                intercept=float(document["intercept"]),
                coefficients=np.array([e["coefficient"] for e in document["columns"]], np.float64),
                covariance=np.array(document["covariance"], np.float64),
                about=document["about"],
            )
            if model.study.hash != document["study_hash"]:
                raise ValueError("the study does not match its hash")
            model._check()
        except (AttributeError, KeyError, StudyError, TypeError, ValueError) as error:
            raise ModelFileError(f"model document is damaged: {error!r}") from None
        return model

    def _check(self) -> None:
        """Raise ValueError where parts do not fit together, or a number is not finite."""
        found = [(c.feature, c.kind, c.level) for c in self.design.columns]
        if found != [place for feature in self.study.features for place in _places(feature)]:
            raise ValueError("the columns are not those of the study's features")
        size = 1 + len(self.design.columns)
        if self.covariance.shape != (size, size):
            raise ValueError(f"covariance has shape {self.covariance.shape}, not {(size, size)}")
        numbers = [(c.mean, c.scale, c.fill) for c in self.design.columns]
        parts = (self.intercept, self.coefficients, self.covariance, numbers)
        if not all(np.isfinite(part).all() for part in parts):
            raise ValueError("a number is not finite")
        if not all(column.scale > 0 for column in self.design.columns):
            raise ValueError("a scale is not positive")
        if (np.diag(self.covariance) < 0).any():
            raise ValueError("a variance is negative")


def _places(feature: Feature) -> list[tuple[str, str, int]]:
    """Feature, kind and level of each column that a feature has."""
    places = [(feature.name, "value", -1)]
    if isinstance(feature, CategoryFeature):
        places = [(feature.name, "level", code) for code in range(1, len(feature.levels))]
    if feature.missing == "allow":
        places.append((feature.name, "missing", -1))
    return places


def _odds_ratio(log_odds: float) -> float | None:
    """None where it leaves the range of floats: JSON has no infinity."""
    with np.errstate(over="ignore"):
        ratio = float(np.exp(log_odds))
    return ratio if np.isfinite(ratio) else None


def _effect(column: DesignColumn, weight: float, columns: Columns) -> FloatArray:
    if column.constant:
        return np.zeros(len(columns[column.feature]))
    return weight * (column.raw(columns) - column.mean) / column.scale
