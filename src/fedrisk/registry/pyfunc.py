"""The model as MLflow calls it: data frames in, risk_score and risk_level out.

`fedrisk.registry.bundle` copies this module, with the few it needs, into the model's folder, so a
scoring server or a Spark executor needs numpy, pandas and pydantic, but no fedrisk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedrisk.errors import DataError, Violation
from fedrisk.models.checks import self_test
from fedrisk.models.logistic import LogisticModel
from fedrisk.study import CategoryFeature, Feature, NumberFeature
from fedrisk.study.records import BoolArray, CodeArray, FloatArray
from fedrisk.study.values import MISSING, LevelReader

if TYPE_CHECKING:
    import pandas as pd

LEVELS = np.array(["low", "medium", "high"])
#: Violations that an error message spells out.
SHOWN = 20


class RiskScorer:
    """A model behind MLflow's ``predict``.

    Parameters
    ----------
    model : LogisticModel
    """

    def __init__(self, model: LogisticModel) -> None:
        self.model = model

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002 MLflow's signature
        """Score a frame.

        Parameters
        ----------
        data : DataFrame
            A column for each feature: numbers in the study's unit, categories as text. A column
            whose missing values the study allows may be absent; further columns are ignored.
        params : dict, optional
            Not used.

        Returns
        -------
        DataFrame
            risk_score between 0 and 1, and risk_level (low, medium, high), with the rows' index.

        Raises
        ------
        DataError
            When values break the study: the first twenty are named.
        """
        import pandas as pd

        violations: list[Violation] = []
        columns = {
            feature.name: _column(feature, data, violations)
            for feature in self.model.study.features
        }
        if violations:
            shown = "; ".join(str(violation) for violation in violations[:SHOWN])
            raise DataError(f"{len(violations)} values break the study: {shown}", violations)
        risk = self.model.risk(columns)
        bands = self.model.study.bands
        level = LEVELS[np.searchsorted([bands.medium, bands.high], risk, side="right")]
        return pd.DataFrame({"risk_score": risk, "risk_level": level}, index=data.index)


def _column(
    feature: Feature, data: pd.DataFrame, violations: list[Violation]
) -> FloatArray | CodeArray:
    number = isinstance(feature, NumberFeature)
    if feature.name not in data.columns:
        if feature.missing == "reject":
            violations.append(Violation("frame", None, feature.name, "", "column is missing"))
        return np.full(len(data), np.nan) if number else np.full(len(data), -1, np.int32)
    values = data[feature.name]
    missing = np.asarray(values.isna(), bool) | _missing_texts(values)
    if feature.missing == "reject":
        _record(feature, values, missing, "is missing", violations)
    if isinstance(feature, CategoryFeature):
        return _codes(feature, values, missing, violations)
    return _numbers(feature, values, missing, violations)


def _missing_texts(values: pd.Series[Any]) -> BoolArray:
    """Where a text stands for no value, white space around it or not."""
    if values.dtype.kind in "biufcmM":
        return np.zeros(len(values), bool)
    texts = (value.strip() if isinstance(value, str) else None for value in values.astype(object))
    return np.fromiter((text in MISSING for text in texts), bool, len(values))


def _numbers(
    feature: NumberFeature, values: pd.Series[Any], missing: BoolArray, violations: list[Violation]
) -> FloatArray:
    import pandas as pd

    read = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    low, high = feature.limits
    fits = (read >= low) & (read <= high)
    violations.extend(
        _violation(feature, values, row, feature.outside_text(read[row]))
        for row in np.flatnonzero(~fits & ~missing).tolist()
    )
    return np.where(missing, np.nan, read)


def _codes(
    feature: CategoryFeature,
    values: pd.Series[Any],
    missing: BoolArray,
    violations: list[Violation],
) -> CodeArray:
    reader, place = LevelReader(feature.levels), {x: code for code, x in enumerate(feature.levels)}
    codes = np.array(
        [
            place[value] if isinstance(value, str) and value in place else reader.code(value)
            for value in values.astype(object)
        ],
        np.int32,
    )
    _record(feature, values, (codes < 0) & ~missing, feature.bounds_text, violations)
    return np.where(missing, np.int32(-1), codes)


def _record(
    feature: Feature,
    values: pd.Series[Any],
    wrong: BoolArray,
    rule: str,
    violations: list[Violation],
) -> None:
    violations.extend(
        _violation(feature, values, row, rule) for row in np.flatnonzero(wrong).tolist()
    )


def _violation(feature: Feature, values: pd.Series[Any], row: int, rule: str) -> Violation:
    return Violation("frame", row + 1, feature.name, str(values.iloc[row]), rule)


def read_scorer(model: dict[str, Any], checks: Sequence[dict[str, Any]]) -> RiskScorer:
    """Rebuild a model and let it reproduce its stored answers before it scores anything.

    Raises
    ------
    ModelFileError
        When the document is damaged, or an answer differs.
    """
    scorer = RiskScorer(LogisticModel.from_document(model))
    self_test(scorer.model, checks)
    return scorer


def _load_pyfunc(path: str) -> RiskScorer:
    """What MLflow calls, with the folder that holds model.json and checks.json."""
    folder = Path(path)
    model, checks = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("model.json", "checks.json")
    )
    return read_scorer(model, checks)
