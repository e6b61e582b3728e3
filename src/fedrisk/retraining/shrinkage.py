"""Figures of small groups, shrunken towards what the groups have in common.

A site has fifteen events: by itself its figure says nothing. In the normal hierarchical model
d_g ~ N(theta_g, s_g^2), theta_g ~ N(mu, tau^2), with a half-normal prior for tau, each group
borrows from the others as much as they resemble each other. Also two or three groups give sensible
answers, where the moment estimators of tau do not (Roever et al., Research Synthesis Methods
2021;12:448).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedrisk.study.records import FloatArray

#: Values of tau that its posterior is summed over, in scales of its prior.
TAU_GRID = np.linspace(0.0, 4.0, 81)
#: Events that the groups' common variance counts for beside a group's own: a variance of five
#: events is hardly known (moderated variances; Smyth, Stat Appl Genet Mol Biol 2004;3:3).
PRIOR_EVENTS = 10.0


@dataclass(frozen=True)
class Shrunken:
    """Posterior of one group's figure: mean and standard deviation."""

    value: float
    sd: float


@dataclass(frozen=True)
class Measured:
    """A group's own figure, its standard error and the events behind it."""

    value: float
    se: float
    events: float


def shrink(groups: Mapping[str, Measured], scale: float) -> dict[str, Shrunken]:
    """Shrink groups' figures.

    Parameters
    ----------
    groups : mapping of name to Measured
    scale : float
        Scale of tau's half-normal prior: how far groups might differ, in the figure's unit.

    Returns
    -------
    dict of name to Shrunken
        In the same order; empty for no groups.
    """
    if not groups:
        return {}
    values = np.array([each.value for each in groups.values()])
    variances = _moderated(list(groups.values()))
    taus = scale * TAU_GRID
    weight, mean, spread = _posteriors(values, variances, taus)
    value = weight @ mean
    within = weight @ spread
    between = weight @ (mean - value) ** 2
    sd = np.sqrt(within + between)
    return {
        name: Shrunken(float(v), float(s)) for name, v, s in zip(groups, value, sd, strict=True)
    }


def _moderated(groups: list[Measured]) -> FloatArray:
    """Variances, each drawn towards what its events would lead one to expect."""
    own = np.array([each.se**2 for each in groups])
    events = np.array([max(each.events, 1.0) for each in groups])
    common = float(np.sum(own * events**2) / np.sum(events))  # variance of one event, by events
    expected = common / events
    moderated: FloatArray = (events * own + PRIOR_EVENTS * expected) / (events + PRIOR_EVENTS)
    return np.maximum(moderated, 1e-18)


def _posteriors(
    values: FloatArray, variances: FloatArray, taus: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weight of each tau, and the groups' means and variances given it, ``(taus, groups)``."""
    total = variances + taus[:, None] ** 2
    precision = 1 / total
    mu_variance = 1 / precision.sum(axis=1)
    mu = mu_variance * (precision @ values)
    rest = (values - mu[:, None]) ** 2 * precision
    log_likelihood = -0.5 * (np.log(total) + rest).sum(axis=1) + 0.5 * np.log(mu_variance)
    log_weight = log_likelihood - 0.5 * (taus / taus[-1] * TAU_GRID[-1]) ** 2
    weight = np.exp(log_weight - log_weight.max())
    pull = variances / total
    mean = pull * mu[:, None] + (1 - pull) * values
    spread = (1 - pull) * variances + pull**2 * mu_variance[:, None]
    return weight / weight.sum(), mean, spread
