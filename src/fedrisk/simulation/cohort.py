"""The simulated cohort: people in several cities, their days, and what followed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import UsageError
from fedrisk.models.logistic import expit
from fedrisk.simulation.effects import AMPLIFICATION, log_odds
from fedrisk.simulation.environment import City, Environment, calendar, simulate_environment
from fedrisk.simulation.people import People, simulate_people
from fedrisk.simulation.scenarios import find_scenario
from fedrisk.simulation.streams import Purpose, stream
from fedrisk.simulation.wearable import Wearable, simulate_wear, simulate_wearable
from fedrisk.study import builtin_study
from fedrisk.study.records import BoolArray, FloatArray

#: The study whose columns the cohort has.
STUDY = "air-wearables"
#: A century; longer cohorts have no meaning here.
MAX_DAYS = 36_525
#: Digits after the point of each column, as an instrument would report it; the risk is computed
#: from the rounded values, so that the truth is a function of the row as written.
DECIMALS = {
    "heart_rate": 1,
    "steps": 0,
    "sleep_hours": 2,
    "respiratory_rate": 1,
    "body_temp": 2,
    "pm25": 1,
    "pm10": 1,
    "o3": 1,
    "no2": 1,
    "temperature": 1,
    "humidity": 1,
    "age": 0,
}


@dataclass(frozen=True, slots=True)
class Cohort:
    """One site's rows, ordered by day and person.

    Parameters
    ----------
    site : str
        Name of the site.
    city : City
        How its air and weather differ.
    columns : dict of str to array (rows,)
        The study's columns: ``person`` and ``date``, features (NaN or an empty string is missing),
        ``cardiorespiratory_event`` (0 or 1).
    true_risk : float64 array (rows,)
        Probability with which the event was drawn.
    """

    site: str
    city: City
    columns: dict[str, NDArray[Any]]
    true_risk: FloatArray

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.true_risk)

    @property
    def events(self) -> BoolArray:
        """Which rows were followed by an event; shape (rows,)."""
        return np.asarray(self.columns["cardiorespiratory_event"] == 1)


def latest_start(as_of: date, days: int) -> date:
    """The last first day for which every outcome is mature on ``as_of``.

    Parameters
    ----------
    as_of : date
        Day on which the rows will be used.
    days : int
        Length of the cohort, in days; from 1 to `MAX_DAYS`.

    Raises
    ------
    UsageError
        When ``days`` is out of range.

    >>> latest_start(date(2025, 1, 31), 2).isoformat()
    '2025-01-21'
    """
    _check_days(days)
    return as_of - builtin_study(STUDY).maturity - timedelta(days=days)


def _exposures(
    air: Environment, wearable: Wearable, people: People, worn: BoolArray
) -> dict[str, FloatArray]:
    """What each row was exposed to, nothing missing, rounded; arrays of shape (rows,)."""
    day, person = np.nonzero(worn)
    pm25 = air.pm25[day] * people.particles[person]
    root_o3 = np.maximum(np.sqrt(air.o3[day]) + people.o3[person], 1.0)
    values = {
        "heart_rate": wearable.heart_rate[worn],
        "steps": wearable.steps[worn],
        "sleep_hours": wearable.sleep_hours[worn],
        "respiratory_rate": wearable.respiratory_rate[worn],
        "body_temp": wearable.body_temp[worn],
        "pm25": pm25,
        "pm10": pm25 + air.coarse[day] * people.particles[person],
        "o3": root_o3**2,
        "no2": air.no2[day] * people.no2[person],
        "temperature": air.temperature[day],
        "humidity": air.humidity[day],
        "age": people.age[person],
    }
    # Adding 0 turns -0.0 into 0.0.
    rounded = {name: np.round(column, DECIMALS[name]) + 0.0 for name, column in values.items()}
    return rounded | {"male": people.male[person].astype(np.float64)}


def _columns(
    exposures: dict[str, FloatArray],
    people: People,
    dates: NDArray[np.datetime64],
    worn: BoolArray,
    events: BoolArray,
) -> dict[str, NDArray[Any]]:
    """The rows as a site would hold them: unknown ages and sexes are missing."""
    day, person = np.nonzero(worn)
    features = {name: column for name, column in exposures.items() if name != "male"}
    sex = np.where(people.sex_known, np.where(people.male, "male", "female"), "")
    return {
        "person": people.name[person],
        "date": dates[day],
        **features,
        "age": np.where(people.age_known[person], exposures["age"], np.nan),
        "sex": sex[person],
        "cardiorespiratory_event": events.astype(np.int64),
    }


def simulate_site(
    site: int,
    people: int,
    days: int,
    seed: int,
    start: date,
    *,
    scenario: str = "none",
    amplification: float = AMPLIFICATION,
) -> Cohort:
    """Simulate one site: a city, its people, and the days on which they wore the device.

    Parameters
    ----------
    site : int
        Number of the site, from 0; its name is ``site-1`` and so on.
    people, days : int
        People of this site and days of the cohort; at least 1. A day on which the device was not
        worn day and night gives no row, so there are about half as many rows as person-days.
    seed : int
        At least 0; the same arguments give the same rows.
    start : date
        First day.
    scenario : str
        One of `SCENARIOS`.
    amplification : float
        Factor on the scaled effects, see `fedrisk.simulation.effects`.

    Raises
    ------
    UsageError
        On an unknown scenario or a number out of range.
    """
    find_scenario(scenario)
    _check(site + 1, people, days, seed, amplification)
    city = City.drawn(stream(seed, site, Purpose.CITY))
    air = simulate_environment(city, start, days, stream(seed, site, Purpose.ENVIRONMENT))
    persons = simulate_people(site, people, stream(seed, site, Purpose.PEOPLE))
    wearable = simulate_wearable(days, people, stream(seed, site, Purpose.WEARABLE))
    worn = simulate_wear(days, people, stream(seed, site, Purpose.WEAR))
    exposures = _exposures(air, wearable, persons, worn)
    risk = expit(log_odds(exposures, amplification))
    events = stream(seed, site, Purpose.OUTCOME).random(len(risk)) < risk
    columns = _columns(exposures, persons, calendar(start, days), worn, events)
    return Cohort(f"site-{site + 1}", city, columns, risk)


def simulate(
    sites: int,
    people: int,
    days: int,
    seed: int,
    start: date,
    *,
    scenario: str = "none",
    amplification: float = AMPLIFICATION,
) -> Iterator[Cohort]:
    """Simulate several sites, one after the other; arguments as for `simulate_site`.

    Parameters
    ----------
    sites : int
        Number of sites, at least 1; a further site leaves the others as they are.
    people : int
        People of each site.

    Yields
    ------
    Cohort
        Of each site, in order.

    Raises
    ------
    UsageError
        On an unknown scenario or a number out of range, before anything is simulated.

    >>> [cohort.site for cohort in simulate(2, 5, 7, 1, date(2024, 1, 1))]
    ['site-1', 'site-2']
    """
    find_scenario(scenario)
    _check(sites, people, days, seed, amplification)
    return (
        simulate_site(
            site, people, days, seed, start, scenario=scenario, amplification=amplification
        )
        for site in range(sites)
    )


def _check(sites: int, people: int, days: int, seed: int, amplification: float) -> None:
    _check_days(days)
    for name, value in (("sites", sites), ("people", people)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    if seed < 0:
        raise UsageError(f"seed must be at least 0, got {seed}")
    if not 0 <= amplification < np.inf:
        raise UsageError(f"amplification must be at least 0 and finite, got {amplification}")


def _check_days(days: int) -> None:
    if not 1 <= days <= MAX_DAYS:
        raise UsageError(f"days must be from 1 to {MAX_DAYS}, got {days}")
