"""Local gradient steps: what a site does between two rounds of FedAvg and its relatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedrisk.models.logistic import expit
from fedrisk.study.records import BoolArray, FloatArray, Record, axes


@dataclass(frozen=True)
class LocalUpdate(Record):
    """A site's parameters after its local steps: intercept, then standardised coefficients."""

    NAME: ClassVar[str] = "local_update"

    parameters: FloatArray = axes("parameters")


def descend(
    matrix: FloatArray,
    events: BoolArray,
    start: FloatArray,
    *,
    steps: int,
    learning_rate: float,
    ridge: float,
    proximal: float = 0.0,
) -> LocalUpdate:
    """Take full-batch gradient steps on the mean loss of one site's rows.

    Parameters
    ----------
    matrix : (rows, columns) array
        Standardised columns.
    events : (rows,) array of bool
    start : (1 + columns,) array
        The federation's parameters.
    steps : int
        Gradient steps.
    learning_rate : float
        In units of ``1 / L``, with L the largest curvature of the site's mean loss.
    ridge : float
        The study's penalty divided by the federation's number of rows.
    proximal : float
        Weight of the proximal term of FedProx (Li et al., MLSys 2020): ``proximal / 2`` times the
        squared distance from ``start``.
    """
    rows = len(matrix)
    if rows == 0:
        return LocalUpdate(start)
    design = np.hstack([np.ones((rows, 1)), matrix])
    outcome = events.astype(np.float64)
    weights = np.concatenate([[0.0], np.full(matrix.shape[1], ridge)])
    curvature = float(np.linalg.norm(design.T @ design / rows, 2)) / 4 + ridge + proximal
    beta = start.copy()
    for _ in range(steps):
        gradient = design.T @ (expit(design @ beta) - outcome) / rows
        gradient += weights * beta + proximal * (beta - start)
        beta = beta - learning_rate / curvature * gradient
    return LocalUpdate(beta)
