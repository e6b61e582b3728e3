"""Penalised logistic regression by damped Newton steps from sums over rows.

The penalised loss is ``sum of -log likelihood + penalty / 2 * |coefficients|^2`` over standardised
columns with a free intercept. Loss, gradient and Hessian are sums over rows, so adding the sites'
sums gives exactly those of the pooled rows, and the solution is the pooled solution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedrisk.errors import ConvergenceError
from fedrisk.models.logistic import expit
from fedrisk.study.records import BoolArray, FloatArray, SumRecord, axes, total

#: A Newton step converges quadratically: one no longer than this leaves an error of its square.
STEP_TOLERANCE = 1e-6
SMALLEST_DAMPING = 2.0**-20
#: Share of a column's variance (weighted as in the Hessian) that the columns before it must leave
#: unexplained: below, what is left is rounding, and the columns repeat each other.
SMALLEST_PIVOT = 1e-12
#: From this many evaluations on, a full step that is not shorter than half the step before means
#: that a coefficient grows without bound; Newton's method shortens steps much faster elsewhere.
PATIENCE = 20
#: Rows are summed in blocks of this many, which bounds memory.
BLOCK = 65_536


@dataclass(frozen=True)
class NewtonSums(SumRecord):
    """Loss, gradient and Hessian at one or several candidate parameter vectors.

    Parameters are the intercept followed by the standardised coefficients.
    """

    NAME: ClassVar[str] = "newton_sums"

    rows: FloatArray = axes()
    loss: FloatArray = axes("candidates")
    gradient: FloatArray = axes("candidates", "parameters")
    hessian: FloatArray = axes("candidates", "parameters", "parameters")


def newton_sums(matrix: FloatArray, events: BoolArray, candidates: FloatArray) -> NewtonSums:
    """Evaluate the unpenalised sums.

    Parameters
    ----------
    matrix : (rows, columns) array
        Standardised columns without the intercept.
    events : (rows,) array of bool
    candidates : (candidates, 1 + columns) array
    """
    count, size = candidates.shape
    loss = np.zeros(count)
    gradient = np.zeros((count, size))
    hessian = np.zeros((count, size, size))
    for start in range(0, len(matrix), BLOCK):
        block = matrix[start : start + BLOCK]
        block = np.hstack([np.ones((len(block), 1)), block])
        outcome = events[start : start + BLOCK].astype(np.float64)
        for place, beta in enumerate(candidates):
            logit = block @ beta
            risk = expit(logit)
            loss[place] += np.sum(np.logaddexp(0.0, logit) - outcome * logit)
            gradient[place] += block.T @ (risk - outcome)
            hessian[place] += (block * (risk * (1 - risk))[:, None]).T @ block
    return NewtonSums(total(len(matrix)), loss, gradient, hessian)


@dataclass(frozen=True)
class NewtonState:
    """Where the solver stands; JSON-able by `document`, so that a run can be taken up again.

    Attributes
    ----------
    beta : (parameters,) array
        Best parameters so far.
    step : (parameters,) array
        Newton step from ``beta``; zero before the first sums.
    damping : float
        Share of ``step`` that the next proposal takes.
    loss : float
        Penalised loss at ``beta``; infinite before the first sums.
    hessian : (parameters, parameters) array
        Penalised Hessian at the last evaluated point.
    evaluations : int
    done : bool
    """

    beta: FloatArray
    step: FloatArray
    damping: float
    loss: float
    hessian: FloatArray
    evaluations: int
    done: bool

    @property
    def proposal(self) -> FloatArray:
        """Parameters to evaluate next, or the solution when done."""
        return self.beta + self.damping * self.step

    def document(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "beta": self.beta.tolist(),
            "step": self.step.tolist(),
            "damping": self.damping,
            "loss": None if np.isinf(self.loss) else self.loss,
            "hessian": self.hessian.tolist(),
            "evaluations": self.evaluations,
            "done": self.done,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> NewtonState:
        """Rebuild from `document`."""
        arrays = {name: np.array(document[name]) for name in ("beta", "step", "hessian")}
        loss = np.inf if document["loss"] is None else document["loss"]
        return cls(**{**document, **arrays, "loss": loss})


def log_odds(prevalence: float) -> float:
    """Log-odds of the prevalence: the intercept of a model without features.

    Raises
    ------
    ConvergenceError
        When every training row has the same label.
    """
    if not 0 < prevalence < 1:
        raise ConvergenceError(
            f"every training row has the same label (prevalence {prevalence:g})",
            hint="check the study's `label` and `positive`, or take sites with events in",
        )
    return float(np.log(prevalence / (1 - prevalence)))


def newton_start(parameters: int, prevalence: float) -> NewtonState:
    """Start from half the log-odds of the prevalence as intercept, all coefficients zero.

    With the full log-odds of a rare event every weight is small, the first step overshoots and has
    to be damped; from zero it falls short. Half-way takes the fewest messages: on GUSTO's regions
    7 against 12 and 7, at lower prevalence fewer than from zero.

    Raises
    ------
    ConvergenceError
        When every training row has the same label.
    """
    beta = np.zeros(parameters)
    beta[0] = log_odds(prevalence) / 2
    zero = np.zeros(parameters)
    return NewtonState(beta, zero, 1.0, np.inf, np.zeros((parameters, parameters)), 0, False)


def newton_advance(
    state: NewtonState, sums: NewtonSums, penalty: float, constant: BoolArray
) -> NewtonState:
    """Take up the sums at ``state.proposal``: accept it and step on, or halve the step.

    Parameters
    ----------
    state : NewtonState
    sums : NewtonSums
        Of all sites, at one candidate: the proposal.
    penalty : float
        Ridge penalty on the coefficients.
    constant : (columns,) array of bool
        Columns to hold at zero.

    Raises
    ------
    ConvergenceError
        When the loss is not finite, cannot be lowered, or the Hessian is singular.
    """
    beta = state.proposal
    ridge = np.concatenate([[0.0], np.full(len(beta) - 1, penalty)])
    loss = float(sums.loss[0] + 0.5 * np.sum(ridge * beta**2))
    evaluations = state.evaluations + 1
    slack = 1e-10 * (1 + abs(state.loss)) if np.isfinite(state.loss) else np.inf
    if not np.isfinite(loss) or loss > state.loss + slack:
        return _damped(state, evaluations)
    hessian = sums.hessian[0] + np.diag(ridge)
    step = _newton_step(hessian, sums.gradient[0] + ridge * beta, constant)
    length, before = np.max(np.abs(step)), np.max(np.abs(state.step))
    done = bool(length <= STEP_TOLERANCE)
    if not done and evaluations >= PATIENCE and state.damping == 1 and length > before / 2:
        raise ConvergenceError(
            "a coefficient grows without bound: the classes separate, or columns nearly repeat",
            hint="set `penalty` above 0, or raise it",
        )
    return NewtonState(beta, step, 1.0, loss, hessian, evaluations, done)


def _damped(state: NewtonState, evaluations: int) -> NewtonState:
    if state.damping <= SMALLEST_DAMPING:
        raise ConvergenceError(
            "no step lowers the loss",
            hint="look for extreme values (`fedrisk study check`) or raise `penalty`",
        )
    return NewtonState(
        state.beta, state.step, state.damping / 2, state.loss, state.hessian, evaluations, False
    )


def _newton_step(hessian: FloatArray, gradient: FloatArray, constant: BoolArray) -> FloatArray:
    free = np.concatenate([[True], ~constant])
    step = np.zeros(len(gradient))
    factor, diagonal = _factor(hessian[np.ix_(free, free)])
    half = np.linalg.solve(factor, -gradient[free] / diagonal)
    step[free] = np.linalg.solve(factor.T, half) / diagonal
    return step


def _factor(hessian: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cholesky factor of the Hessian scaled to a unit diagonal, and the square roots of its own.

    The squared pivots are what each column leaves unexplained by those before it, so one threshold
    tells repeating columns from ill-conditioned ones whatever the scale. Without it, rounding
    decides whether a singular matrix has a factor.
    """
    diagonal = np.sqrt(np.maximum(np.diag(hessian), np.finfo(np.float64).tiny))
    try:
        factor = np.linalg.cholesky(hessian / np.outer(diagonal, diagonal))
        if np.min(np.diag(factor)) ** 2 > SMALLEST_PIVOT:
            return factor, diagonal
    except np.linalg.LinAlgError:
        pass
    raise ConvergenceError(
        "the Hessian is singular: columns repeat each other, or the classes separate",
        hint="set `penalty` above 0, or leave one of the repeating features out",
    )


def posterior_covariance(hessian: FloatArray, constant: BoolArray) -> FloatArray:
    """Inverse of the penalised Hessian, zero for constant columns, ``(parameters, parameters)``.

    Raises
    ------
    ConvergenceError
        When the Hessian is singular.
    """
    free = np.concatenate([[True], ~constant])
    factor, diagonal = _factor(hessian[np.ix_(free, free)])
    half = np.linalg.solve(factor, np.diag(1 / diagonal))
    covariance = np.zeros_like(hessian)
    covariance[np.ix_(free, free)] = half.T @ half
    return covariance
