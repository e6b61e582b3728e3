"""Since when, and whether it has passed: the time in which outcomes depart from the model most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from fedrisk.detectors.score_bins import bin_logits, bin_risks
from fedrisk.monitoring.outcomes import Outcomes
from fedrisk.study.records import FloatArray

#: Log-likelihood by which a ramp must be better than a step, which has one number more to fit.
_CLEARLY = 0.5
#: Fewest windows of a ramp, and after an end.
_LEAST_RAMP, _LEAST_CALM = 8, 3
#: Log-likelihood by which an end must be better than none: 5 % of chance for one number more.
_SURELY_ENDED = 1.92
_STEPS = 25


@dataclass(frozen=True)
class Onset:
    """When a change of the outcomes began.

    Attributes
    ----------
    start : datetime
        Of the first window that belongs to it.
    gradual : bool
        Whether it grew from window to window instead of being there at once.
    end : datetime or None
        Of the first window from which on outcomes are as expected again; None while it lasts.
    """

    start: datetime
    gradual: bool
    end: datetime | None = None


def find_onset(outcomes: Sequence[Outcomes], split: float) -> Onset:
    """The likeliest beginning, and the likeliest end if there is one, all sites together.

    A step changes the rates of events below and above ``split`` to what they were from then on; an
    episode does so until an end; a ramp changes the rate of all by a factor that grows with time.
    Events count as Poisson.

    Parameters
    ----------
    outcomes : sequence of Outcomes
        At least one.
    split : float
        Log-odds.
    """
    above = bin_logits() >= split
    totals: dict[datetime, FloatArray] = defaultdict(lambda: np.zeros(4))
    for each in outcomes:
        expected = each.labelled * bin_risks()
        halves = [part[side].sum() for part in (each.events, expected) for side in (~above, above)]
        totals[each.start] += halves
    starts = sorted(totals)
    table = np.array([totals[start] for start in starts])
    observed, expected = table[:, :2], table[:, 2:]
    gains = _gains(observed, expected)
    place = int(np.argmax(gains[:, -1]))
    lasting = float(gains[place, -1])
    ramp = _best_ramp(observed.sum(axis=1), expected.sum(axis=1))
    first, last = (int(each) for each in np.unravel_index(int(np.argmax(gains)), gains.shape))
    surely = float(gains[first, last]) > max(lasting, ramp) + _SURELY_ENDED
    if surely and len(starts) - 1 - last >= _LEAST_CALM:
        return Onset(starts[first], gradual=False, end=starts[last + 1])
    return Onset(starts[place], gradual=ramp > lasting + _CLEARLY)


def _gains(observed: FloatArray, expected: FloatArray) -> FloatArray:
    """Log-likelihood ratio of other rates from one window to another, both included.

    Returns
    -------
    (windows, windows) array
        By first and last window; 0 where the last is before the first.
    """
    seen, awaited = (_sums(part) for part in (observed, expected))
    awaited = np.maximum(awaited, 1e-12)
    logs = np.log(np.where(seen > 0, seen / awaited, 1.0))
    gains: FloatArray = (seen * logs - (seen - awaited)).sum(axis=2)
    return np.triu(gains)


def _sums(counts: FloatArray) -> FloatArray:
    """Sums from one window to another, ``(windows, windows, 2)``."""
    until = np.cumsum(counts, axis=0)
    before = until - counts
    sums: FloatArray = np.maximum(until[None, :, :] - before[:, None, :], 0.0)
    return sums


def _best_ramp(observed: FloatArray, expected: FloatArray) -> float:
    """Largest log-likelihood ratio of a ramp that begins in any window and lasts long enough."""
    best = 0.0
    for first in range(max(len(observed) - _LEAST_RAMP + 1, 0)):
        time = np.clip(np.arange(len(observed)) - first + 1.0, 0.0, None) / len(observed)
        slope = 0.0
        for _ in range(_STEPS):
            rate = expected * np.exp(np.clip(slope * time, -20.0, 20.0))
            curvature = float(rate @ time**2)
            slope += float((observed - rate) @ time) / max(curvature, 1e-12)
        rate = expected * np.exp(np.clip(slope * time, -20.0, 20.0))
        best = max(best, float(np.sum(observed * slope * time - (rate - expected))))
    return best
