"""How large a distance grows where nothing changed, learnt from the reference's own blocks.

Rows of one person resemble each other, and all people of a site share a day's weather: a test that
takes rows for independent fires on nothing. Blocks of the training period carry both in full, so
their distances from the rest of their season are what a distance of a new one is held against.

A season has a dozen blocks and a p-value is wanted far beyond them, so the logarithm of a distance
is taken as normal and a new one's is judged by the predictive t law, whose scale is moderated by
that of the other sites and seasons: with the variance s_c^2 of a stratum on d_c degrees of freedom,

.. math:: s^2 = (d_0 s_0^2 + d_c s_c^2) / (d_0 + d_c)

where d_0 and s_0 are fitted to all strata (Smyth, Statistical Applications in Genetics and
Molecular Biology 2004;3:3, section 6.2). The logarithm is the cautious choice: right tails of
pollutants are that long. ``benchmarks/false_alarms.py`` shows what it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedrisk.study.records import FloatArray

#: Fewest blocks that do not overlap: with less, no p-value is told.
LEAST_BLOCKS = 6
#: Most degrees of freedom: log distances are not so normal that a thinner tail is to be trusted.
MOST_DEGREES = 30.0
#: Least standard deviation of a log distance: blocks that are all alike promise nothing exact.
LEAST_SCALE = 0.2
#: Distances below this share of the one that matters are all taken as that.
FLOOR = 0.1


@dataclass(frozen=True)
class Scale:
    """What all strata say about the variance of a log distance.

    Attributes
    ----------
    variance : float
    degrees : float
        Degrees of freedom that it counts for in each stratum; infinite where all are alike.
    """

    variance: float
    degrees: float


@dataclass(frozen=True)
class Null:
    """The law of a distance where nothing changed.

    Attributes
    ----------
    location, scale : float
        Of the logarithm of a new distance.
    degrees : float
        Of the t law.
    floor : float
        Smaller distances are taken as this.
    blocks : float
        Blocks behind it that do not overlap.
    """

    location: float
    scale: float
    degrees: float
    floor: float
    blocks: float

    @property
    def typical(self) -> float:
        """The median distance where nothing changed."""
        return float(np.exp(self.location))

    def p_value(self, distance: float) -> float:
        """Probability of a distance at least as large where nothing changed, above 0.

        >>> null = Null(location=0.0, scale=1.0, degrees=30.0, floor=0.01, blocks=31.0)
        >>> null.p_value(1.0), round(null.p_value(10.0), 4)
        (0.5, 0.0142)
        """
        from scipy.special import stdtr

        away = (np.log(max(distance, self.floor)) - self.location) / self.scale
        return max(float(stdtr(self.degrees, -away)), float(np.finfo(np.float64).tiny))


def fit_null(
    distances: FloatArray, independent: float, floor: float, shared: Scale | None
) -> Null | None:
    """The null of some blocks' distances; None below `LEAST_BLOCKS`.

    Parameters
    ----------
    distances : (groups,) array
        Of blocks, or of groups of them that may overlap, each from what it is compared with.
    independent : float
        How many of them there would be without overlap.
    floor : float
        Above 0.
    shared : Scale or None
        What other strata say about the spread.
    """
    logs = log_distances(distances, floor)
    independent = min(independent, float(len(logs)))
    if independent < LEAST_BLOCKS:
        return None
    own = independent - 1
    variance = float(logs.var()) * len(logs) / (len(logs) - 1)
    shared = shared or Scale(variance, 0.0)
    degrees = shared.degrees + own
    if np.isfinite(degrees):
        variance = (shared.degrees * shared.variance + own * variance) / degrees
    else:
        variance = shared.variance
    spread = max(np.sqrt(variance), LEAST_SCALE) * np.sqrt(1 + 1 / independent)
    return Null(float(logs.mean()), float(spread), min(degrees, MOST_DEGREES), floor, independent)


def shared_scale(strata: Sequence[tuple[FloatArray, float]], floor: float) -> Scale | None:
    """Fit what strata have in common; None where fewer than two have three blocks.

    Parameters
    ----------
    strata : sequence of (distances, independent)
        As `fit_null` takes them.
    floor : float
        Above 0.
    """
    from scipy.special import digamma, polygamma

    enough = [(log_distances(d, floor), n) for d, n in strata if min(n, len(d)) >= 3]
    if len(enough) < 2:
        return None
    degrees = np.array([min(n, len(d)) - 1.0 for d, n in enough])
    variances = np.array([max(d.var(ddof=1), LEAST_SCALE**2) for d, _ in enough])
    logs = np.log(variances) - digamma(degrees / 2) + np.log(degrees / 2)
    excess = logs.var(ddof=1) - polygamma(1, degrees / 2).mean()
    if excess <= 0:
        return Scale(float(np.exp(logs.mean())), np.inf)
    prior = 2 * _inverse_trigamma(float(excess))
    shift = digamma(prior / 2) - np.log(prior / 2)
    return Scale(float(np.exp(logs.mean() + shift)), float(prior))


def log_distances(distances: FloatArray, floor: float) -> FloatArray:
    """Logarithms of distances, none below the floor's."""
    logs: FloatArray = np.log(np.maximum(distances, floor))
    return logs


def _inverse_trigamma(value: float) -> float:
    """The number whose trigamma is ``value``, by Newton's method (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    guess = 0.5 + 1 / value
    for _ in range(20):
        trigamma = float(polygamma(1, guess))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, guess))
        guess += step
        if abs(step) <= 1e-6 * guess:
            break
    return guess
