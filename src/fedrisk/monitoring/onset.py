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
    """

    start: datetime
    gradual: bool


@dataclass(frozen=True)
class Episode:
    """A change of the outcomes that ended.

    Attributes
    ----------
    start, end : datetime
        Of the first window that belongs to it, and of the first that no longer does.
    """

    start: datetime
    end: datetime


def find_onset(outcomes: Sequence[Outcomes], split: float) -> Onset:
    """The likeliest beginning of a change that lasts, all sites together.

    A step changes the rates of events below and above ``split`` to what they were from then on; a
    ramp changes the rate of all by a factor that grows with time. Events count as Poisson.

    Parameters
    ----------
    outcomes : sequence of Outcomes
        At least one.
    split : float
        Log-odds.
    """
    starts, observed, expected = _table(outcomes, split)
    steps = _gains(observed, expected)[:, -1]
    place = int(np.argmax(steps))
    ramp = _best_ramp(observed.sum(axis=1), expected.sum(axis=1))
    return Onset(starts[place], gradual=ramp > float(steps[place]) + _CLEARLY)


def find_episode(outcomes: Sequence[Outcomes], split: float) -> Episode | None:
    """The likeliest change with an end, where one explains the outcomes better than what lasts.

    Parameters
    ----------
    outcomes : sequence of Outcomes
        At least one.
    split : float
        Log-odds.
    """
    starts, observed, expected = _table(outcomes, split)
    gains = _gains(observed, expected)
    lasting = max(float(gains[:, -1].max()), _best_ramp(observed.sum(axis=1), expected.sum(axis=1)))
    first, last = (int(each) for each in np.unravel_index(int(np.argmax(gains)), gains.shape))
    surely = float(gains[first, last]) > lasting + _SURELY_ENDED
    if not surely or len(starts) - 1 - last < _LEAST_CALM:
        return None
    return Episode(starts[first], starts[last + 1])


def _table(
    outcomes: Sequence[Outcomes], split: float
) -> tuple[list[datetime], FloatArray, FloatArray]:
    """Starts of the windows; events and expected ones below and above, ``(windows, 2)`` each."""
    above = bin_logits() >= split
    totals: dict[datetime, FloatArray] = defaultdict(lambda: np.zeros(4))
    for each in outcomes:
        expected = each.labelled * bin_risks()
        halves = [part[side].sum() for part in (each.events, expected) for side in (~above, above)]
        totals[each.start] += halves
    starts = sorted(totals)
    table = np.array([totals[start] for start in starts])
    return starts, table[:, :2], table[:, 2:]


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
