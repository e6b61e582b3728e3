"""Stored rows with stored answers: a model must reproduce them wherever it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from fedrisk.errors import ModelFileError
from fedrisk.models.logistic import LogisticModel
from fedrisk.study import NumberFeature, Study
from fedrisk.study.records import FloatArray

#: A risk that differs by more than this from the stored one is a failed self-test.
TOLERANCE = 1e-9


def columns_from_rows(study: Study, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Turn rows of valid values (None or absent is missing) into feature columns."""
    numbers = iter(_numbers([feature.name for feature in study.numbers], rows))
    columns: dict[str, Any] = {}
    for feature in study.features:
        if isinstance(feature, NumberFeature):
            columns[feature.name] = next(numbers)
        else:
            code: dict[str | None, int] = {level: n for n, level in enumerate(feature.levels)}
            code[None] = -1
            codes = [code[row.get(feature.name)] for row in rows]
            columns[feature.name] = np.array(codes, np.int32)
    return columns


def _numbers(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> FloatArray:
    """Numbers of rows, ``(features, rows)``, NaN where one is missing."""
    if not names:
        return np.zeros((0, len(rows)))
    try:
        table = list(map(itemgetter(*names), rows))
    except KeyError:
        table = [[row.get(name) for name in names] for row in rows]
    # NumPy makes NaN of None; one array for all costs a third of one for each feature.
    return np.array(table, np.float64).reshape(len(rows), len(names)).T.copy()


def make_checks(model: LogisticModel) -> list[dict[str, Any]]:
    """Rows that reach every term of the model, with the model's risks.

    The rows are made from the design's means and standard deviations, never from a site's rows:
    the average person, one feature moved by one standard deviation (or to each level) at a time,
    and each missing value that is allowed.
    """
    average: dict[str, Any] = {}
    moves: list[dict[str, Any]] = []
    for feature in model.study.features:
        if isinstance(feature, NumberFeature):
            column = next(c for c in model.design.columns if c.feature == feature.name)
            low = -np.inf if feature.minimum is None else feature.minimum
            high = np.inf if feature.maximum is None else feature.maximum
            average[feature.name] = float(np.clip(column.mean, low, high))
            shifted = float(np.clip(column.mean + column.scale, low, high))
            moves.append({feature.name: shifted})
        else:
            average[feature.name] = feature.levels[0]
            moves += [{feature.name: level} for level in feature.levels[1:]]
        if feature.missing == "allow":
            moves.append({feature.name: None})
    rows = [average, *({**average, **move} for move in moves)]
    risks = model.risk(columns_from_rows(model.study, rows))
    return [{"row": row, "risk": float(risk)} for row, risk in zip(rows, risks, strict=True)]


def self_test(model: LogisticModel, checks: Sequence[Mapping[str, Any]]) -> None:
    """Score the stored rows and compare.

    Raises
    ------
    ModelFileError
        When there are no checks, or a risk differs from its stored answer.
    """
    if not checks:
        raise ModelFileError("the model came without self-test rows")
    try:
        risks = model.risk(columns_from_rows(model.study, [check["row"] for check in checks]))
        stored = np.array([float(check["risk"]) for check in checks])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"self-test rows are damaged: {error!r}") from None
    # Written so that a NaN fails, too.
    wrong = np.flatnonzero(~(np.abs(risks - stored) <= TOLERANCE)).tolist()
    if wrong:
        raise ModelFileError(f"self-test failed on stored rows {wrong[:5]} of {len(checks)}")
