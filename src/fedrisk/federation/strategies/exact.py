"""The exact strategy: Newton's method on the sites' sums, equal to the pooled fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from fedrisk.errors import ConvergenceError
from fedrisk.federation.strategies.base import Fit, Start, sums_at
from fedrisk.models.newton import NewtonState, NewtonSums, newton_advance, newton_start
from fedrisk.study.records import BoolArray, FloatArray


@dataclass(frozen=True)
class Position:
    """Where the fit stands.

    Attributes
    ----------
    newton : NewtonState
    messages : int
        How many the sites have had, also before a restart.
    sites : tuple of str
        Whose sums stand behind ``newton``; empty before the first.
    """

    newton: NewtonState
    messages: int = 0
    sites: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The position as JSON values."""
        return {
            "newton": self.newton.document(),
            "messages": self.messages,
            "sites": list(self.sites),
        }

    @classmethod
    def of(cls, start: Start, first: NewtonState) -> Self:
        """The position that was kept, or the first one."""
        if start.kept is None:
            return cls(first)
        newton = NewtonState.from_document(dict(start.kept["newton"]))
        return cls(newton, start.kept["messages"], tuple(start.kept["sites"]))


def exact(start: Start) -> Fit:
    """Fit by damped Newton steps, one message a step.

    Raises
    ------
    ConvergenceError
        When the fit has no finite, unique solution, or the request's rounds do not suffice.
    """
    first = newton_start(1 + len(start.design.columns), start.prevalence)
    newton = solve(start, first, start.study.penalty, start.design.constant)
    return Fit(newton.proposal, newton.hessian, converged=True)


def solve(
    start: Start,
    first: NewtonState,
    penalty: float,
    constant: BoolArray,
    basis: FloatArray | None = None,
) -> NewtonState:
    """Newton's method on the sites' sums, from a first state or from where the run was left.

    The loss is a sum over sites, so it is another function once a site has dropped out: its value
    at the best parameters so far says nothing about a step then. The sequence starts anew from
    these parameters with the sites that are left, and ends at their pooled fit.

    Parameters
    ----------
    start : Start
    first : NewtonState
    penalty : float
        On all that is fitted but the first.
    constant : (fitted - 1,) array of bool
        What of it is held at zero.
    basis : (1 + columns, fitted) array, optional
        What is fitted are coordinates of the parameters in this basis; without one the parameters
        themselves. Gradient and Hessian follow by the chain rule, so sites are asked as always.

    Raises
    ------
    ConvergenceError
        When there is no finite, unique solution, or the request's rounds do not suffice.
    """
    position = Position.of(start, first)
    while not position.newton.done:
        _check_limit(position, start.broadcast.request.rounds)
        position = _advanced(start, position, penalty, constant, basis)
        start.keep(position.document())
    return position.newton


def _advanced(
    start: Start,
    position: Position,
    penalty: float,
    constant: BoolArray,
    basis: FloatArray | None,
) -> Position:
    newton = position.newton
    proposal = newton.proposal if basis is None else basis @ newton.proposal
    sums = sums_at(start, proposal[None])
    sites = start.broadcast.rounds[-1].sites
    if newton.evaluations and sites != position.sites:
        newton = restarted(newton)
    else:
        newton = newton_advance(newton, _within(sums, basis), penalty, constant)
    return Position(newton, position.messages + 1, sites)


def _within(sums: NewtonSums, basis: FloatArray | None) -> NewtonSums:
    if basis is None:
        return sums
    gradient, hessian = sums.gradient @ basis, basis.T @ sums.hessian @ basis
    return replace(sums, gradient=gradient, hessian=hessian)


def restarted(state: NewtonState) -> NewtonState:
    """The best parameters so far as a new start, without the loss and the step at them."""
    zero = np.zeros_like(state.step)
    return replace(state, step=zero, damping=1.0, loss=np.inf, evaluations=0, done=False)


def _check_limit(position: Position, limit: int) -> None:
    if position.messages >= limit:
        step = np.max(np.abs(position.newton.step))
        raise ConvergenceError(
            f"not converged after {limit} rounds; last step {step:.2g}",
            hint="allow more --rounds, or raise the study's `penalty`",
        )
