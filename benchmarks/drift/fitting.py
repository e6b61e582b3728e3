"""Fit a model to the rows of all sites by the exact machinery, as a federated run would."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
from world import Features

from fedrisk.errors import ConvergenceError
from fedrisk.models.design_matrix import DesignMatrix, design_from_summary
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.newton import (
    NewtonState,
    newton_advance,
    newton_start,
    newton_sums,
    posterior_covariance,
)
from fedrisk.models.summary import summarise
from fedrisk.study import Study
from fedrisk.study.records import BoolArray, FloatArray

#: Features and events of one site.
Part = tuple[Features, BoolArray]


def fit(study: Study, parts: Sequence[Part], near: LogisticModel | None = None) -> LogisticModel:
    """The penalised logistic regression on all parts; begun at the coefficients of ``near``."""
    summary = reduce(add, (summarise(study, columns, events) for columns, events in parts))
    design = design_from_summary(study, summary)
    start = newton_start(1 + len(design.columns), float(summary.events / summary.rows))
    matrices = [(design.transform(columns), events) for columns, events in parts]
    state = None
    if near is not None:
        with suppress(ConvergenceError):  # too far off, as after a change of units
            nearer = replace(start, beta=_in_units_of(near, design))
            state = _solved(study, design, matrices, nearer)
    state = state or _solved(study, design, matrices, start)
    return LogisticModel(
        study,
        design,
        float(state.proposal[0]),
        state.proposal[1:].copy(),
        posterior_covariance(state.hessian, design.constant),
    )


def _solved(
    study: Study,
    design: DesignMatrix,
    matrices: Sequence[tuple[FloatArray, BoolArray]],
    state: NewtonState,
) -> NewtonState:
    while not state.done:
        at = state.proposal[None]
        sums = reduce(add, (newton_sums(matrix, events, at) for matrix, events in matrices))
        state = newton_advance(state, sums, study.penalty, design.constant)
    return state


def _in_units_of(model: LogisticModel, design: DesignMatrix) -> FloatArray:
    """Intercept and coefficients of a model on another standardisation."""
    beta = np.zeros(1 + len(design.columns))
    beta[0] = model.intercept
    pairs = zip(model.design.columns, design.columns, model.coefficients, strict=True)
    for place, (old, new, coefficient) in enumerate(pairs, start=1):
        slope = 0.0 if new.constant or old.constant else coefficient / old.scale
        beta[place] = slope * new.scale
        beta[0] += slope * (new.mean - old.mean)
    return beta


def recalibrated(study: Study, model: LogisticModel, parts: Sequence[Part]) -> LogisticModel:
    """The model with intercept and slope of its logit fitted to all parts."""
    logits = [(model.logit(columns)[:, None], events) for columns, events in parts]
    line = newton_start(2, 0.5)
    line = replace(line, beta=np.array([0.0, 1.0]))
    while not line.done:
        at = line.proposal[None]
        sums = reduce(add, (newton_sums(logit, events, at) for logit, events in logits))
        line = newton_advance(line, sums, 0.0, np.array([False]))
    intercept, slope = line.proposal
    return replace(
        model,
        study=study,
        intercept=float(intercept + slope * model.intercept),
        coefficients=model.coefficients * slope,
        covariance=model.covariance * slope**2,
    )
