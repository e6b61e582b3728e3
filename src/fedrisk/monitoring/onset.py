"""Since when: the time from which outcomes depart from the model most, at once or by and by."""

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
#: Fewest windows of a ramp.
_LEAST_RAMP = 8
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


def find_onset(outcomes: Sequence[Outcomes], split: float) -> Onset:
    """The likeliest beginning, all sites together.

    A step changes the rates of events below and above ``split`` to what they were from then on; a
    ramp changes the rate of all by a factor that grows with time. Events count as Poisson.

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
    steps = _step_gains(observed, expected)
    place = int(np.argmax(steps))
    ramp = _best_ramp(observed.sum(axis=1), expected.sum(axis=1))
    return Onset(starts[place], gradual=ramp > float(steps[place]) + _CLEARLY)


def _step_gains(observed: FloatArray, expected: FloatArray) -> FloatArray:
    """Log-likelihood ratio of a step at each window, ``(windows,)``."""
    seen, awaited = (np.cumsum(part[::-1], axis=0)[::-1] for part in (observed, expected))
    awaited = np.maximum(awaited, 1e-12)
    logs = np.log(np.where(seen > 0, seen / awaited, 1.0))
    gains: FloatArray = (seen * logs - (seen - awaited)).sum(axis=1)
    return gains


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
