"""The recalibrating strategy: another intercept and slope for the log-odds of a model that is."""

from __future__ import annotations

import numpy as np

from fedrisk.federation.strategies.base import Fit, Start
from fedrisk.federation.strategies.exact import solve
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.newton import NewtonState
from fedrisk.study.records import FloatArray


def recalibrate(start: Start) -> Fit:
    """Fit intercept a and slope s of ``a + s * logit`` of the request's base model, exactly.

    Logistic recalibration (Cox, Biometrika 1958;45:562; Steyerberg et al., Statistics in Medicine
    2004;23:2567): two numbers, so few events suffice, and the order of the risks stays. They are
    coordinates of the base's parameters b, for the recalibrated ones are ``a + s * b0`` and
    ``s * b``: the sites' sums at these and the chain rule give the two numbers' gradient and
    Hessian. Nothing is penalised.

    The covariance is that of the two numbers, and the base's own times the slope squared; the base
    was fitted on other rows.

    Raises
    ------
    ConvergenceError
        When the base tells no risks apart, the classes separate, or the request's rounds do not
        suffice.
    """
    base = LogisticModel.from_document(start.broadcast.request.base or {})
    basis = recalibration_basis(base)
    newton = solve(start, first_state(), penalty=0.0, constant=np.zeros(1, bool), basis=basis)
    slope = newton.proposal[1]
    own = basis @ np.linalg.inv(newton.hessian) @ basis.T
    return Fit(
        basis @ newton.proposal,
        newton.hessian,
        converged=True,
        notes={"recalibration_intercept": float(newton.proposal[0]), "slope": float(slope)},
        covariance=own + slope**2 * base.covariance,
    )


def recalibration_basis(base: LogisticModel) -> FloatArray:
    """Columns whose multiples by a and s add up to the recalibrated parameters.

    Returns
    -------
    (1 + columns, 2) array
    """
    parameters = np.concatenate([[base.intercept], base.coefficients])
    shift = np.zeros_like(parameters)
    shift[0] = 1.0
    return np.stack([shift, parameters], axis=1)


def first_state() -> NewtonState:
    """Newton's method begins at the base itself: intercept 0, slope 1."""
    return NewtonState(
        beta=np.array([0.0, 1.0]),
        step=np.zeros(2),
        damping=1.0,
        loss=np.inf,
        hessian=np.zeros((2, 2)),
        evaluations=0,
        done=False,
    )
