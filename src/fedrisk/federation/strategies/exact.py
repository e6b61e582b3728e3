"""The exact strategy: Newton's method on the sites' sums, equal to the pooled fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from fedrisk.errors import ConvergenceError
from fedrisk.federation.strategies.base import Fit, Start, sums_at
from fedrisk.models.newton import NewtonState, newton_advance, newton_start


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
    def of(cls, start: Start) -> Self:
        """The position that was kept, or the first one."""
        if start.kept is None:
            return cls(newton_start(1 + len(start.design.columns), start.prevalence))
        newton = NewtonState.from_document(dict(start.kept["newton"]))
        return cls(newton, start.kept["messages"], tuple(start.kept["sites"]))


def exact(start: Start) -> Fit:
    """Fit by damped Newton steps, one message a step.

    The loss is a sum over sites, so it is another function once a site has dropped out: its value
    at the best parameters so far says nothing about a step then. The sequence starts anew from
    these parameters with the sites that are left, and ends at their pooled fit.

    Raises
    ------
    ConvergenceError
        When the fit has no finite, unique solution, or the request's rounds do not suffice.
    """
    position = Position.of(start)
    while not position.newton.done:
        _check_limit(position, start.broadcast.request.rounds)
        position = _advanced(start, position)
        start.keep(position.document())
    newton = position.newton
    return Fit(newton.proposal, newton.hessian, converged=True)


def _advanced(start: Start, position: Position) -> Position:
    newton = position.newton
    sums = sums_at(start, newton.proposal[None])
    sites = start.broadcast.rounds[-1].sites
    if newton.evaluations and sites != position.sites:
        newton = restarted(newton)
    else:
        newton = newton_advance(newton, sums, start.study.penalty, start.design.constant)
    return Position(newton, position.messages + 1, sites)


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
