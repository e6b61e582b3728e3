"""The known truth: a logistic risk of an event on the day after, with published effect sizes.

    logit P(event | row) = INTERCEPT + sum over effects of b_k x_k(row),
    b_k = log(relative risk_k) / unit_k, times the amplification where the effect is scaled.

Every effect keeps its published relative risk and source apart from the amplification. The sources
report relative risks or hazard ratios of death (of a first cardiovascular event for age and sex);
here they are taken as odds ratios of an acute cardiorespiratory event, which is close while events
are rare. Published effects of a single day's air, weather or wearable are so small that a cohort
of some hundred people could not show them, therefore those alone are scaled up, by `AMPLIFICATION`.
All exposures are those of the row, so that the true risk is a function of the row; the sources use
averages over the same and some earlier days.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, log
from typing import Literal

import numpy as np

from fedrisk.study.records import FloatArray

#: Factor on the published log relative risk of the effects that are scaled; 1 is as published.
AMPLIFICATION = 3.0
#: Log-odds of the reference row (every exposure 0): with the default amplification 3 % of days
#: are followed by an event, far more than in life, so that small cohorts show the effects.
INTERCEPT = -5.4

Shape = Literal["linear", "above", "below", "at_least"]


@dataclass(frozen=True, slots=True)
class Effect:
    """One term of the risk model.

    Parameters
    ----------
    name : str
        Of the effect.
    column : str
        Feature that it depends on; ``male`` is 1 for men, else 0.
    shape : {"linear", "above", "below", "at_least"}
        Exposure: ``x - point``; ``max(x - point, 0)``; ``max(point - x, 0)``; 1 from ``point`` on.
    point : float
        Reference or threshold, in the feature's unit.
    relative_risk : float
        As published, for an exposure of ``unit``; above 0.
    unit : float
        Exposure to which ``relative_risk`` belongs, in the feature's unit.
    source : str
        Where it was published.
    note : str
        What had to be chosen to apply it to a row.
    scaled : bool
        Whether the amplification applies.
    low, high : float
        The exposure is cut to this range, in the feature's unit.
    """

    name: str
    column: str
    shape: Shape
    point: float
    relative_risk: float
    unit: float
    source: str
    note: str = ""
    scaled: bool = True
    low: float = -inf
    high: float = inf

    def coefficient(self, amplification: float = AMPLIFICATION) -> float:
        """Log-odds per unit of exposure (per feature unit; for ``at_least``, of the step)."""
        published = log(self.relative_risk) / self.unit
        return published * amplification if self.scaled else published

    def exposure(self, columns: Mapping[str, FloatArray]) -> FloatArray:
        """The exposure of each row, in the feature's unit; shape (rows,)."""
        values = columns[self.column]
        if self.shape == "at_least":
            return (values >= self.point).astype(np.float64)
        distance = self.point - values if self.shape == "below" else values - self.point
        low = self.low if self.shape == "linear" else max(self.low, 0.0)
        return np.clip(distance, low, self.high)


_SLEEP = "Cappuccio et al., Sleep 2010;33:585-592, doi:10.1093/sleep/33.5.585"
_FRAMINGHAM = "D'Agostino et al., Circulation 2008;117:743-753 (Framingham)"

EFFECTS: tuple[Effect, ...] = (
    Effect(
        "fine particles",
        "pm25",
        "linear",
        0.0,
        1.0068,
        10.0,
        "Liu et al., N Engl J Med 2019;381:705-715, doi:10.1056/NEJMoa1817364",
        "all-cause mortality per 10 ug/m3, mean of two days",
    ),
    Effect(
        "nitrogen dioxide",
        "no2",
        "linear",
        0.0,
        1.0046,
        10.0,
        "Meng et al., BMJ 2021;372:n534, doi:10.1136/bmj.n534",
        "total mortality per 10 ug/m3 on the day before",
    ),
    Effect(
        "ozone",
        "o3",
        "linear",
        0.0,
        1.0018,
        10.0,
        "Vicedo-Cabrera et al., BMJ 2020;368:m108, doi:10.1136/bmj.m108",
        "total mortality per 10 ug/m3, mean of two days",
    ),
    Effect(
        "heat",
        "temperature",
        "above",
        24.0,
        1.0312,
        1.0,
        "Baccini et al., Epidemiology 2008;19:711-719",
        "natural mortality per degC above the city's threshold of maximum apparent temperature, "
        "Mediterranean cities (29.4 degC); applied to the daily mean above 24 degC",
    ),
    Effect(
        "cold",
        "temperature",
        "below",
        10.0,
        1.0135,
        1.0,
        "Analitis et al., Am J Epidemiol 2008;168:1397-1408",
        "natural mortality per degC decrease from October to March; applied below 10 degC",
    ),
    Effect(
        "resting heart rate",
        "heart_rate",
        "linear",
        65.0,
        1.09,
        10.0,
        "Zhang et al., CMAJ 2016;188:E53-E63, doi:10.1503/cmaj.150535",
        "all-cause mortality per 10 beats/min",
    ),
    Effect(
        "short sleep",
        "sleep_hours",
        "below",
        7.0,
        1.12,
        1.0,
        _SLEEP,
        "all-cause mortality of short sleepers; applied per hour below 7 h, at most 3 h",
        high=3.0,
    ),
    Effect(
        "long sleep",
        "sleep_hours",
        "above",
        8.0,
        1.30,
        1.0,
        _SLEEP,
        "all-cause mortality of long sleepers; applied per hour above 8 h, at most 2 h",
        high=2.0,
    ),
    Effect(
        "fast breathing",
        "respiratory_rate",
        "at_least",
        16.0,
        1.18,
        1.0,
        "Baumert et al., Eur Respir J 2019;54:1802175, doi:10.1183/13993003.02175-2018",
        "all-cause mortality at 16 breaths/min or more during sleep, older men",
    ),
    Effect(
        "body temperature",
        "body_temp",
        "linear",
        36.6,
        1.084,
        0.149,
        "Obermeyer et al., BMJ 2017;359:j5468, doi:10.1136/bmj.j5468",
        "one-year mortality per .149 degC of individual temperature",
    ),
    Effect(
        "steps",
        "steps",
        "linear",
        8_000.0,
        0.88,
        1_000.0,
        "Jayedi et al., Sports Med 2022;52:89-99, doi:10.1007/s40279-021-01536-4",
        "all-cause mortality per 1,000 steps/day, linear from 2,700 to 17,000; applied in that "
        "range. An effect of habitual activity: not scaled",
        scaled=False,
        low=2_700.0 - 8_000.0,
        high=17_000.0 - 8_000.0,
    ),
    Effect(
        "age",
        "age",
        "linear",
        60.0,
        1.57,
        10.0,
        _FRAMINGHAM,
        "log age has 3.061 in men and 2.329 in women, 2.695 on average; its slope at 60 years is "
        "2.695 / 60 = .0449 a year, a factor of 1.57 a decade. Not scaled",
        scaled=False,
    ),
    Effect(
        "male sex",
        "male",
        "linear",
        0.0,
        1.79,
        1.0,
        _FRAMINGHAM,
        "718 events in 3,969 men and 456 in 4,522 women, not adjusted for age. Not scaled",
        scaled=False,
    ),
)


def log_odds(columns: Mapping[str, FloatArray], amplification: float = AMPLIFICATION) -> FloatArray:
    """True log-odds of an event, of each row.

    Parameters
    ----------
    columns : mapping of str to float64 array (rows,)
        The features that `EFFECTS` name, none missing.
    amplification : float
        Factor on the scaled effects; at least 0.

    Returns
    -------
    float64 array (rows,)
    """
    rows = len(next(iter(columns.values())))
    total: FloatArray = np.full(rows, INTERCEPT)
    for effect in EFFECTS:
        total += effect.coefficient(amplification) * effect.exposure(columns)
    return total
