"""Ranges rounded outward, so that a draft shows round limits and not somebody's value."""

from __future__ import annotations

import math

from fedrisk.study.features import LARGEST

#: For ranges wider than this, or finer than its inverse, no round limits are proposed: they might
#: be larger than a study's bounds may be.
WIDEST = LARGEST / 10
#: What multiples of a step may be off by, relative to the value.
_ROUNDING = 1e-9


def _step(span: float, digits: int) -> float:
    return float(10.0 ** (math.floor(math.log10(span)) - digits + 1))


def plausible_range(low: float, high: float) -> tuple[float, float] | None:
    """Round a range outward to two digits of its width; None where it has no width.

    >>> plausible_range(21.7, 88.31)
    (21.0, 89.0)
    """
    span = high - low
    if not 1 / WIDEST < span < WIDEST:
        return None
    step = _step(span, 2)
    below, above = math.floor(low / step) * step, math.ceil(high / step) * step
    # A value beside which the step is huge is rounded away by the division.
    if below > low + _ROUNDING * abs(low):
        below -= step
    if above < high - _ROUNDING * abs(high):
        above += step
    return below, above


def hard_bounds(low: float, high: float) -> tuple[float | None, float | None]:
    """Propose hard bounds around what was seen, half its width wider and rounded outward.

    What never was negative keeps zero as a bound, and what lay between 0 and 1 keeps both. No
    bound is proposed where numbers are too large for one.

    >>> hard_bounds(35.0, 213.0)
    (0.0, 400.0)
    >>> hard_bounds(0.01, 0.93)
    (0.0, 1.0)
    """
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    span = high - low
    if not 1 / WIDEST < span < WIDEST:
        return None, None
    step = _step(span, 1)
    below = math.floor((low - span / 2) / step) * step
    above = math.ceil((high + span / 2) / step) * step
    return (max(below, 0.0) if low >= 0 else below), (min(above, 0.0) if high <= 0 else above)


def risk_bands(prevalence: float) -> tuple[float, float]:
    """Propose lower limits of the medium and the high risk level.

    Medium begins at the share of events, high at three times that, but at most half-way from
    medium to certainty; medium lies between .001 and .5.

    >>> risk_bands(0.0698)
    (0.07, 0.21)
    >>> risk_bands(0.4)
    (0.4, 0.7)
    """
    medium = float(f"{min(max(prevalence, 0.001), 0.5):.2g}")
    return medium, float(f"{min(3 * medium, (1 + medium) / 2):.3g}")
