"""A scenario: what of the simulated world changes, when, where and how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from math import exp, log
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import UsageError
from fedrisk.simulation.effects import EFFECTS
from fedrisk.simulation.environment import Environment
from fedrisk.study.records import FloatArray

#: What truly is the matter after the change.
Kind = Literal[
    "none", "season", "quality", "covariate", "prevalence", "concept", "ageing", "site", "labels"
]
Columns = Mapping[str, FloatArray]
Written = Callable[[Columns, FloatArray], dict[str, FloatArray]]
DAYS_A_YEAR = 365.25


@dataclass(frozen=True, slots=True)
class Newcomers:
    """People who take the place of others.

    Parameters
    ----------
    share : float
        Probability with which a resident leaves at the change; the expected number of those who
        leave is the number who come.
    age_mean, age_spread : float
        Years.
    male : float
        Share of men.
    steps : float
        Factor on the median number of steps.
    heart_rate : float
        Added to the mean, beats/min.
    """

    share: float
    age_mean: float
    age_spread: float
    male: float
    steps: float
    heart_rate: float


@dataclass(frozen=True, slots=True)
class Care:
    """Care that a score leads to, and what it does to outcomes.

    Parameters
    ----------
    from_score : float
        Risk from which somebody acts.
    held_out : float
        Probability with which nobody acts all the same, whoever it is.
    relative_risk : float
        Published effect of the care; multiplies the odds, amplified as the effects of a day are.
    column : str
        Column that says where somebody acted; `treated` of the study.
    """

    from_score: float
    held_out: float
    relative_risk: float
    column: str = "acted_on_score"

    def odds_ratio(self, amplification: float) -> float:
        """Factor on the odds of those who are cared for."""
        return exp(log(self.relative_risk) * amplification)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named course of the simulated world.

    Changes go with their extent: 0 before the change, in full 1 (times the size asked for), one
    number a day or a row. Shifts are multiplied by it, factors raised to its power.

    Parameters
    ----------
    name : str
        As given on the command line.
    description : str
        What changes, as a sentence.
    kind : str
        What a perfect watch would say.
    source : str
        Where the size of the change comes from, or that it is a choice.
    features : tuple of str
        Features whose values, as written, have another law after the change.
    first_site_only : bool
        Whether the other sites stay as they are.
    length : int, optional
        Days after which all is as before; for ever where None.
    gradual : bool
        Whether the extent grows by 1 a year instead of being 1 at once.
    sized : bool
        Whether another size than 1 has a meaning.
    particles : float
        Factor on PM2.5 and the coarse fraction.
    temperature : float
        Added to the temperature, degC.
    doubled : str, optional
        Effect (`Effect.name`) whose log-odds the change adds once more.
    odds_ratio : float
        Factor on everybody's odds.
    written : callable, optional
        (true exposures, extent by row) to the values that the instruments write.
    newcomers : Newcomers, optional
    delay : int
        Days by which outcomes of days after the change become known later.
    care : Care, optional
    """

    name: str
    description: str
    kind: Kind
    source: str = "a choice"
    features: tuple[str, ...] = ()
    first_site_only: bool = False
    length: int | None = None
    gradual: bool = False
    sized: bool = True
    particles: float = 1.0
    temperature: float = 0.0
    doubled: str | None = None
    odds_ratio: float = 1.0
    written: Written | None = None
    newcomers: Newcomers | None = None
    delay: int = 0
    care: Care | None = None

    def extent(
        self, dates: NDArray[np.datetime64], change: date, site: int, size: float = 1.0
    ) -> FloatArray:
        """How far the world has changed, by day; shape (days,).

        >>> import numpy as np
        >>> days = np.datetime64("2024-01-01") + np.arange(4)
        >>> Scenario("x", "X.", "covariate", length=2).extent(days, date(2024, 1, 2), 0).tolist()
        [0.0, 1.0, 1.0, 0.0]
        """
        if self.kind == "none" or (self.first_site_only and site > 0):
            return np.zeros(len(dates))
        since = (dates - np.datetime64(change, "D")).astype(np.int64)
        inside = since >= 0
        if self.length is not None:
            inside &= since < self.length
        full = since / DAYS_A_YEAR if self.gradual else 1.0
        return np.asarray(np.where(inside, full, 0.0) * size, np.float64)

    def air(self, air: Environment, extent: FloatArray) -> Environment:
        """What truly is in the air, from what would be, by the extent of each day."""
        factor = self.particles**extent
        return replace(
            air,
            pm25=air.pm25 * factor,
            coarse=air.coarse * factor,
            temperature=air.temperature + self.temperature * extent,
        )

    def odds(self, exposures: Columns, extent: FloatArray, amplification: float) -> FloatArray:
        """What the change adds to the log-odds of rows with these true exposures."""
        added = np.asarray(extent * log(self.odds_ratio), np.float64)
        for effect in EFFECTS:
            if effect.name == self.doubled:
                added += extent * effect.coefficient(amplification) * effect.exposure(exposures)
        return added

    def document(self) -> dict[str, Any]:
        """What it is, as JSON values, for the truth beside the rows."""
        return {
            "name": self.name,
            "description": self.description,
            "kind": self.kind,
            "source": self.source,
            "features": list(self.features),
            "sites": "the first" if self.first_site_only else "all",
            "days": self.length,
        }


def day_of_change(start: date, days: int, change: date | None = None) -> date:
    """The day on which the world changes; by default after two thirds of the span.

    Raises
    ------
    UsageError
        When the day is not one of the cohort.

    >>> day_of_change(date(2024, 1, 1), 30).isoformat()
    '2024-01-21'
    """
    if change is None:
        return start + timedelta(days=2 * days // 3)
    last = start + timedelta(days=days - 1)
    if not start <= change <= last:
        raise UsageError(
            f"the world cannot change on {change}, the cohort runs from {start} to {last}",
            hint="name a day of the cohort with --change",
        )
    return change
