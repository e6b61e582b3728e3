"""The simulated cohort: people in several cities, their days, and what followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import UsageError
from fedrisk.models.logistic import expit
from fedrisk.simulation.effects import AMPLIFICATION, log_odds
from fedrisk.simulation.environment import City, Environment, calendar, simulate_environment
from fedrisk.simulation.residents import Residents, replace_some, simulate_residents
from fedrisk.simulation.scenarios import Care, Scenario, day_of_change, find_scenario
from fedrisk.simulation.streams import Purpose, stream
from fedrisk.simulation.study_file import STUDY
from fedrisk.study import builtin_study
from fedrisk.study.records import BoolArray, FloatArray

#: Label of a row whose outcome is not known yet.
UNKNOWN = -1
#: (columns) to risks, both by row: a score on which somebody acts.
Score = Callable[[Mapping[str, NDArray[Any]]], FloatArray]
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
        ``cardiorespiratory_event`` (0 or 1; -1 where it is not known when the last day's would be),
        and ``acted_on_score`` in a scenario in which somebody acts on the score.
    true_risk : float64 array (rows,)
        Probability with which the event was drawn.
    untreated_risk : float64 array (rows,)
        What it would have been, had nobody acted on a score; else the same.
    events : bool array (rows,)
        Which rows were followed by an event, known or not.
    known_on : datetime64[D] array (rows,)
        Day on which that is known.
    """

    site: str
    city: City
    columns: dict[str, NDArray[Any]]
    true_risk: FloatArray
    untreated_risk: FloatArray
    events: BoolArray
    known_on: NDArray[np.datetime64]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.true_risk)


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


def _exposures(air: Environment, residents: Residents) -> dict[str, FloatArray]:
    """What each row was exposed to, nothing missing, rounded; arrays of shape (rows,)."""
    worn, wearable, people = residents.worn, residents.wearable, residents.people
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
    return _rounded(values) | {"male": people.male[person].astype(np.float64)}


def _rounded(values: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    # Adding 0 turns -0.0 into 0.0.
    return {name: np.round(values[name], digits) + 0.0 for name, digits in DECIMALS.items()}


def _features(written: Mapping[str, FloatArray], residents: Residents) -> dict[str, NDArray[Any]]:
    """The features as a site would hold them: unknown ages and sexes are missing."""
    people, person = residents.people, np.nonzero(residents.worn)[1]
    sex = np.where(people.sex_known, np.where(people.male, "male", "female"), "")
    return {
        **_rounded(written),
        "age": np.where(people.age_known[person], written["age"], np.nan),
        "sex": sex[person],
    }


def _acted(
    care: Care, score: FloatArray, extent: FloatArray, random: np.random.Generator
) -> BoolArray:
    """Where somebody acts on the score; shape (rows,)."""
    held_out = random.random(len(score)) < care.held_out
    return (extent > 0) & (score >= care.from_score) & ~held_out


def simulate_site(
    site: int,
    people: int,
    days: int,
    seed: int,
    start: date,
    *,
    scenario: str = "none",
    change: date | None = None,
    size: float = 1.0,
    score: Score | None = None,
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
    change : date, optional
        Day on which the world changes; by default after two thirds of the days. Rows before it are
        those of the scenario ``none``.
    size : float
        Factor on the size of the change, at least 0; 1 is as the scenario says.
    score : callable, optional
        (columns) to the risk on which somebody acts, in a scenario with care; the true risk
        without care where None.
    amplification : float
        Factor on the scaled effects, see `fedrisk.simulation.effects`.

    Raises
    ------
    UsageError
        On an unknown scenario, a number out of range, a change on a day that is not one of the
        cohort, or a size of a change that has none.
    """
    _check(site + 1, people, days, seed, amplification)
    world, change = _course(scenario, start, days, change, size)
    dates = calendar(start, days)
    extent = world.extent(dates, change, site, size)
    city = City.drawn(stream(seed, site, Purpose.CITY))
    air = simulate_environment(city, start, days, stream(seed, site, Purpose.ENVIRONMENT))
    residents = simulate_residents(site, people, days, seed)
    if world.newcomers is not None:
        residents = replace_some(residents, world.newcomers, site, seed, extent > 0)
    day, person = np.nonzero(residents.worn)
    by_row = extent[day]
    exposures = _exposures(world.air(air, extent), residents)
    odds = log_odds(exposures, amplification) + world.odds(exposures, by_row, amplification)
    untreated = risk = expit(odds)
    written = exposures if world.written is None else world.written(exposures, by_row)
    columns: dict[str, NDArray[Any]] = {
        "person": residents.people.name[person],
        "date": dates[day],
        **_features(written, residents),
    }
    if world.care is not None:
        scored = untreated if score is None else score(columns)
        acted = _acted(world.care, scored, by_row, stream(seed, site, Purpose.CARE))
        risk = expit(odds + acted * np.log(world.care.odds_ratio(amplification)))
        columns[world.care.column] = acted.astype(np.int64)
    events = stream(seed, site, Purpose.OUTCOME).random(len(risk)) < risk
    maturity = np.timedelta64(builtin_study(STUDY).maturity.days, "D")
    known_on = dates[day] + maturity + world.delay * (by_row > 0)
    known = known_on <= dates[-1] + maturity
    columns["cardiorespiratory_event"] = np.where(known, events.astype(np.int64), UNKNOWN)
    return Cohort(f"site-{site + 1}", city, columns, risk, untreated, events, known_on)


def _course(
    scenario: str, start: date, days: int, change: date | None, size: float
) -> tuple[Scenario, date]:
    """The scenario and the day of its change, both checked."""
    world = find_scenario(scenario)
    if not 0 <= size < np.inf:
        raise UsageError(f"size must be at least 0 and finite, got {size}")
    if size != 1 and not world.sized:
        raise UsageError(f"the change of scenario {scenario!r} has no size, got {size}")
    return world, day_of_change(start, days, change)


def simulate(
    sites: int,
    people: int,
    days: int,
    seed: int,
    start: date,
    *,
    scenario: str = "none",
    change: date | None = None,
    size: float = 1.0,
    score: Score | None = None,
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
        As `simulate_site`, before anything is simulated.

    >>> [cohort.site for cohort in simulate(2, 5, 7, 1, date(2024, 1, 1))]
    ['site-1', 'site-2']
    """
    _check(sites, people, days, seed, amplification)
    _course(scenario, start, days, change, size)
    return (
        simulate_site(
            site,
            people,
            days,
            seed,
            start,
            scenario=scenario,
            change=change,
            size=size,
            score=score,
            amplification=amplification,
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
