"""Risk scores from validated rows: one row in plain floats, many rows in arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fedrisk.errors import ModelFileError
from fedrisk.models.checks import TOLERANCE, columns_from_rows
from fedrisk.models.logistic import CategoryTerm, LogisticModel, NumberTerm, expit
from fedrisk.serving.explaining import Explanation, RowExplainer, sigmoid
from fedrisk.study import NumberFeature, Study
from fedrisk.study.records import Columns, FloatArray

LEVELS = ("low", "medium", "high")
#: Contribution of one feature's value, in log-odds; the value is as `request` leaves it.
Effect = Callable[[Any], float]


def usual_text(feature: NumberFeature) -> str:
    """The plausible range in words.

    >>> usual_text(NumberFeature(name="age", unit="year", plausible=(18, 100)))
    'is usually between 18 and 100 year'
    """
    if feature.plausible is None:
        return ""
    low, high = feature.plausible
    return f"is usually between {low:g} and {high:g} {feature.unit}".rstrip()


class Scorer:
    """A model made ready to score.

    Parameters
    ----------
    model : LogisticModel
    """

    def __init__(self, model: LogisticModel) -> None:
        self.model = model
        self.study: Study = model.study
        self._terms = model.terms()
        self._medium, self._high = model.study.bands.medium, model.study.bands.high
        self._intercept = model.intercept
        pairs = [(feature, self._terms[feature.name]) for feature in model.study.features]
        self._numbers = [
            (f.name, t.mean, t.slope, t.offset, t.missing)
            for f, t in pairs
            if isinstance(t, NumberTerm)
        ]
        self._categories = [
            (f.name, dict(zip((*f.levels, None), t.table.tolist(), strict=True)))
            for f, t in pairs
            if isinstance(t, CategoryTerm) and not isinstance(f, NumberFeature)
        ]
        self.explainer = RowExplainer(model)
        self._plausible = [
            (f.name, *f.plausible, usual_text(f)) for f in model.study.numbers if f.plausible
        ]

    def risk(self, row: Mapping[str, Any]) -> float:
        """Risk of one row, between 0 and 1.

        Parameters
        ----------
        row : mapping
            Every feature by name: a float in the feature's unit, a level, or None where missing.
        """
        logit = self._intercept
        for name, mean, slope, offset, missing in self._numbers:
            value = row[name]
            logit += missing if value is None else (value - mean) * slope + offset
        for name, table in self._categories:
            logit += table[row[name]]
        return sigmoid(logit)

    def level(self, risk: float) -> str:
        """Risk level by the study's bands: ``low``, ``medium`` or ``high``."""
        if risk < self._medium:
            return "low"
        return "medium" if risk < self._high else "high"

    def warnings(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Field, value and rule of every value that is accepted though it is implausible."""
        found = []
        for name, low, high, rule in self._plausible:
            value = row[name]
            if value is not None and not low <= value <= high:
                found.append({"field": name, "value": value, "rule": rule})
        return found

    def explain(self, rows: Sequence[Mapping[str, Any]]) -> list[Explanation]:
        """Interval and contributions of each row."""
        columns = columns_from_rows(self.study, rows)
        low, high = (bound.tolist() for bound in self.model.interval(columns))
        names = list(self._terms)
        parts = [term(columns[name]).tolist() for name, term in self._terms.items()]
        return [
            Explanation((low[at], high[at]), self._intercept, dict(zip(names, row, strict=True)))
            for at, row in enumerate(zip(*parts, strict=True))
        ]

    def risks(self, columns: Columns) -> FloatArray:
        """Risks of many rows, ``(rows,)``.

        Parameters
        ----------
        columns : mapping of feature name to (rows,) array
            Floats with NaN, or level codes with -1, where a value is missing.
        """
        terms = iter(self._terms.items())
        name, term = next(terms)
        logit = term(columns[name]) + self._intercept
        for name, term in terms:
            logit += term(columns[name])
        return expit(logit)

    def level_codes(self, risks: FloatArray) -> Any:
        """Position of each risk's level in `LEVELS`, ``(rows,)``."""
        return np.searchsorted([self._medium, self._high], risks, side="right")

    def self_test(self, checks: Sequence[Mapping[str, Any]]) -> None:
        """Answer the stored rows by this scorer's own arithmetic.

        Raises
        ------
        ModelFileError
            When an answer differs from the stored one.
        """
        for place, check in enumerate(checks):
            row = {f.name: check["row"].get(f.name) for f in self.study.features}
            if not abs(self.risk(row) - check["risk"]) <= TOLERANCE:
                raise ModelFileError(f"the scorer fails the self-test on stored row {place}")
