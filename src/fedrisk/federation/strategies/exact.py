"""The exact strategy: Newton's method on the sites' sums, equal to the pooled fit."""

from __future__ import annotations

import numpy as np

from fedrisk.errors import ConvergenceError
from fedrisk.federation.strategies.base import Fit, Start, sums_at
from fedrisk.models.newton import newton_advance, newton_start


def exact(start: Start) -> Fit:
    """Fit by damped Newton steps, one message a step.

    Raises
    ------
    ConvergenceError
        When the fit has no finite, unique solution, or the request's rounds do not suffice.
    """
    constant = start.design.constant
    state = newton_start(1 + len(start.design.columns), start.prevalence)
    limit = start.broadcast.request.rounds
    while not state.done:
        if state.evaluations >= limit:
            raise ConvergenceError(
                f"not converged after {limit} rounds; last step {np.max(np.abs(state.step)):.2g}",
                hint="allow more --rounds, or raise the study's `penalty`",
            )
        sums = sums_at(start, state.proposal[None])
        state = newton_advance(state, sums, start.study.penalty, constant)
    return Fit(state.proposal, state.hessian, converged=True)
