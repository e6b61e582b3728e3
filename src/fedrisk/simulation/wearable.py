"""The simulated wearable: a person's own level, and days that vary about it.

For person i, day t and variable v, on a scale on which v is near normal,

    x_itv = m_v + between_v * b_iv + within_v * w_itv,
    w_itv = r_v w_i(t-1)v + sqrt(1 - r_v^2) e_itv,

with b and e normal and correlated across variables. Steps are normal on their square root and cut
at 0 (LifeSnaps has 1 % of days without a step). Nights of one in ten are irregular: their
deviation from the person's own level is larger, which gives sleep its heavy tails.

Figures in capitals were fitted by ``scripts/fit_simulation_parameters.py`` to LifeSnaps, 71 people
with a Fitbit Sense: Yfantidou et al., Scientific Data 2022;9:663,
doi:10.1038/s41597-022-01764-x. The wearable measures skin, not core temperature: mean and
spread between people of the body temperature come from Obermeyer et al., BMJ 2017;359:j5468 (mean
36.6 degC, individual temperature's sd .149 degC); its spread from day to day (.2 degC) is a choice,
its autocorrelation that of LifeSnaps' nightly skin temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedrisk.study.records import BoolArray, FloatArray

VARIABLES = ("heart_rate", "steps", "sleep_hours", "respiratory_rate", "body_temp")
#: Mean over people: beats/min, root steps, h, breaths/min, degC.
MEAN: FloatArray = np.array([65.90, 86.63, 6.569, 15.21, 36.60])
#: Standard deviation between people.
BETWEEN: FloatArray = np.array([6.708, 16.17, 0.746, 2.309, 0.149])
#: Standard deviation within a person.
WITHIN: FloatArray = np.array([2.678, 28.26, 1.442, 1.248, 0.200])
#: Correlation of a person's day with the day before; sleep's -.04 is taken as none.
LAG_ONE: FloatArray = np.array([0.882, 0.175, 0.0, 0.200, 0.187])
#: Correlations between people and within a person, in the order of `VARIABLES`; LifeSnaps has no
#: core temperature, which is taken as uncorrelated between people and within as skin temperature.
BETWEEN_CORRELATION: FloatArray = np.array(
    [
        [1.0, -0.41, -0.08, 0.03, 0.0],
        [-0.41, 1.0, -0.30, -0.10, 0.0],
        [-0.08, -0.30, 1.0, 0.20, 0.0],
        [0.03, -0.10, 0.20, 1.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)
WITHIN_CORRELATION: FloatArray = np.array(
    [
        [1.0, 0.06, -0.08, 0.25, 0.10],
        [0.06, 1.0, -0.07, -0.04, 0.03],
        [-0.08, -0.07, 1.0, 0.0, -0.02],
        [0.25, -0.04, 0.0, 1.0, 0.16],
        [0.10, 0.03, -0.02, 0.16, 1.0],
    ]
)
#: Share of irregular nights and their larger spread; a mixture with kurtosis 3.2 (LifeSnaps: 3.4).
IRREGULAR_SHARE, IRREGULAR_SPREAD = 0.1, 2.5
#: Share of days with heart rate, steps and sleep: over people a beta law with mean .513, sd .324.
WEAR_BETA = (0.71, 0.67)
#: Correlation within a person of wearing the device on one day and on the next.
WEAR_PERSISTENCE = 0.608
#: What a device reports: lowest and highest value of each variable, far within the hard bounds.
LOWEST: FloatArray = np.array([35.0, 0.0, 0.5, 6.0, 35.0])
HIGHEST: FloatArray = np.array([120.0, 45_000.0, 15.0, 30.0, 39.5])


@dataclass(frozen=True, slots=True)
class Wearable:
    """A wearable's days; arrays of shape (days, people).

    ``heart_rate`` is the resting heart rate in beats/min, ``steps`` steps/day, ``sleep_hours`` h
    asleep, ``respiratory_rate`` breaths/min over sleep, ``body_temp`` degC.
    """

    heart_rate: FloatArray
    steps: FloatArray
    sleep_hours: FloatArray
    respiratory_rate: FloatArray
    body_temp: FloatArray


def _deviations(days: int, people: int, random: np.random.Generator) -> FloatArray:
    """Stationary, unit-variance deviations from the own level; shape (days, people, 5)."""
    factor = np.linalg.cholesky(WITHIN_CORRELATION)
    deviations: FloatArray = random.standard_normal((days, people, len(VARIABLES))) @ factor.T
    fresh = np.sqrt(1 - LAG_ONE**2)
    for yesterday, today in pairwise(deviations):
        today *= fresh
        today += LAG_ONE * yesterday
    return deviations


def _irregular_nights(shape: tuple[int, int], random: np.random.Generator) -> FloatArray:
    """Factor on the deviation of sleep: a scale mixture with unit variance."""
    irregular = random.random(shape) < IRREGULAR_SHARE
    variance = 1 + IRREGULAR_SHARE * (IRREGULAR_SPREAD**2 - 1)
    factor: FloatArray = np.where(irregular, IRREGULAR_SPREAD, 1.0) / np.sqrt(variance)
    return factor


def simulate_wearable(
    days: int, people: int, random: np.random.Generator, mean: FloatArray = MEAN
) -> Wearable:
    """Days of a wearable, as if it were worn on every one of them.

    Parameters
    ----------
    days, people : int
        Shape of what is drawn.
    random : numpy.random.Generator
        Stream of the site's wearables.
    mean : (5,) array
        Means over people, in the order of `VARIABLES`; steps on their root.
    """
    factor = np.linalg.cholesky(BETWEEN_CORRELATION)
    own = mean + BETWEEN * (random.standard_normal((people, len(VARIABLES))) @ factor.T)
    values = _deviations(days, people, random)
    values[:, :, 2] *= _irregular_nights((days, people), random)
    values *= WITHIN
    values += own
    np.square(np.maximum(values[:, :, 1], 0.0), out=values[:, :, 1])
    np.clip(values, LOWEST, HIGHEST, out=values)
    return Wearable(*(values[:, :, k] for k in range(len(VARIABLES))))


def simulate_wear(days: int, people: int, random: np.random.Generator) -> BoolArray:
    """On which days a person wore the device day and night; shape (days, people).

    Each day repeats the day before with probability `WEAR_PERSISTENCE` and is otherwise drawn anew
    with the person's own share, so the share is kept and the lag-1 correlation is the persistence.
    """
    share = random.beta(*WEAR_BETA, size=people)
    worn: NDArray[np.bool_] = random.random((days, people)) < share
    repeats = random.random((days, people)) < WEAR_PERSISTENCE
    for day in range(1, days):
        worn[day] = np.where(repeats[day], worn[day - 1], worn[day])
    return worn
