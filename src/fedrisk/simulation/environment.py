"""Air quality and weather of one simulated city, day by day.

Six series on scales on which they are near normal: log PM2.5, log coarse fraction (PM10 - PM2.5),
roots of O3 and NO2 (their logs have too long a lower tail), temperature, and the logit of humidity.
Each is

    x_t = seasonal mean (year and half year) + seasonal spread * z_t,
    z_t = A z_(t-1) + e_t,  e_t ~ N(0, S),

so that pollution comes in episodes that last some days, under still, damp air, and ozone moves
against the primary pollutants. z is cut at the range seen in the four years of the source.

Every figure in capitals was fitted by ``scripts/fit_simulation_parameters.py`` to the mean over
eight stations of the Beijing Multi-Site Air-Quality data (UCI 501), daily means of March 2013 to
February 2017: Zhang et al., Proc. R. Soc. A 2017;473:20170457, doi:10.1098/rspa.2017.0457.
How far other cities lie from Beijing is a choice of this simulation, stated at `City`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from fedrisk.study.records import FloatArray

SERIES = ("pm25", "coarse", "o3", "no2", "temperature", "humidity")
#: Seasonal mean of each series: intercept; cosine, sine of the year; cosine, sine of the half year.
MEAN: FloatArray = np.array(
    [
        [4.015, 0.106, 0.041, 0.033, -0.093],
        [2.798, -0.031, 0.351, -0.270, -0.291],
        [7.229, -2.712, 0.798, 0.115, 0.437],
        [6.784, 0.846, -0.101, -0.087, -0.329],
        [13.515, -14.541, -2.689, -1.202, 0.288],
        [0.140, -0.426, -0.640, 0.047, 0.024],
    ]
)
#: Standard deviation of each series about its seasonal mean: intercept; cosine, sine of the year.
SPREAD: FloatArray = np.array(
    [
        [0.884, 0.182, -0.018],
        [0.938, 0.002, -0.058],
        [1.590, -0.026, -0.115],
        [1.437, 0.761, 0.162],
        [2.582, 0.119, 0.594],
        [0.757, 0.083, -0.053],
    ]
)
#: Transition matrix A of the standardised series from one day to the next.
TRANSITION: FloatArray = np.array(
    [
        [0.416, 0.027, 0.141, 0.275, -0.113, -0.050],
        [-0.166, 0.410, -0.061, 0.073, 0.132, -0.229],
        [-0.053, 0.054, 0.524, 0.110, 0.046, 0.025],
        [-0.118, -0.044, 0.021, 0.671, -0.072, -0.181],
        [-0.035, 0.035, -0.086, 0.122, 0.697, 0.054],
        [0.031, 0.008, 0.069, 0.119, -0.066, 0.523],
    ]
)
#: Covariance S of the day's innovation.
INNOVATION: FloatArray = np.array(
    [
        [0.617, 0.021, -0.184, 0.497, 0.083, 0.400],
        [0.021, 0.607, 0.064, 0.107, 0.152, -0.206],
        [-0.184, 0.064, 0.731, -0.313, 0.222, -0.379],
        [0.497, 0.107, -0.313, 0.704, 0.053, 0.348],
        [0.083, 0.152, 0.222, 0.053, 0.528, -0.220],
        [0.400, -0.206, -0.379, 0.348, -0.220, 0.677],
    ]
)
#: Quantiles .001 and .999 of the standardised series.
LOWEST: FloatArray = np.array([-2.55, -3.16, -4.62, -2.73, -4.08, -2.41])
HIGHEST: FloatArray = np.array([1.98, 2.69, 2.40, 2.82, 2.55, 3.89])
#: Days simulated before the first one, so that it is a day like any other.
BURN_IN = 60


@dataclass(frozen=True, slots=True)
class City:
    """How a city differs from the one that the parameters were fitted to.

    The spread over cities is chosen, not fitted (stations of one city cannot tell it): cleaner air
    than Beijing on average, other climates, so that sites differ in level and in season.

    Parameters
    ----------
    particles : float
        Added to log PM2.5 and to the log of the coarse fraction.
    no2 : float
        Added to the log of NO2.
    o3 : float
        Added to the root of O3, in root ug/m3.
    temperature : float
        Added to the temperature, in degC.
    season : float
        Factor on the seasonal swing of the temperature; above 0.
    """

    particles: float = 0.0
    no2: float = 0.0
    o3: float = 0.0
    temperature: float = 0.0
    season: float = 1.0

    @classmethod
    def drawn(cls, random: np.random.Generator) -> City:
        """A city at random: air mostly cleaner, winters mostly milder than in Beijing."""
        particles, no2, o3, temperature = random.normal(
            [-0.5, -0.3, 0.2, 1.0], [0.35, 0.25, 0.4, 3.0]
        )
        season = random.uniform(0.55, 1.05)
        return cls(*(round(float(x), 3) for x in (particles, no2, o3, temperature, season)))


@dataclass(frozen=True, slots=True)
class Environment:
    """Daily means of a city; arrays of shape (days,).

    ``pm25``, ``coarse`` (PM10 - PM2.5), ``o3`` and ``no2`` in ug/m3, ``temperature`` in degC,
    ``humidity`` in %.
    """

    pm25: FloatArray
    coarse: FloatArray
    o3: FloatArray
    no2: FloatArray
    temperature: FloatArray
    humidity: FloatArray


def calendar(start: date, days: int) -> NDArray[np.datetime64]:
    """The days from ``start`` on, shape (days,)."""
    return np.datetime64(start, "D") + np.arange(days)


def _waves(dates: NDArray[np.datetime64]) -> FloatArray:
    """Intercept, cosine and sine of the year and of the half year; shape (days, 5)."""
    day = (dates - dates.astype("datetime64[Y]")).astype(np.float64)
    angle = 2 * np.pi * day / 365.25
    half = 2 * angle
    return np.column_stack(
        [np.ones(len(day)), np.cos(angle), np.sin(angle), np.cos(half), np.sin(half)]
    )


def _day_to_day(days: int, random: np.random.Generator) -> FloatArray:
    """The standardised series, a stationary VAR(1) cut at the range seen; shape (days, 6)."""
    factor = np.linalg.cholesky(INNOVATION)
    shocks = random.standard_normal((BURN_IN + days, len(SERIES))) @ factor.T
    state = np.zeros(len(SERIES))
    for shock in shocks:  # each row is overwritten by the state it leads to
        state = TRANSITION @ state + shock
        shock[:] = state
    return np.clip(shocks[BURN_IN:], LOWEST, HIGHEST)


def simulate_environment(
    city: City, start: date, days: int, random: np.random.Generator
) -> Environment:
    """Air and weather of one city from ``start`` on (northern hemisphere).

    Parameters
    ----------
    city : City
        How it differs from the city of the fit.
    start : date
        First day.
    days : int
        How many days.
    random : numpy.random.Generator
        Stream of the city's weather.
    """
    waves = _waves(calendar(start, days))
    mean = np.broadcast_to(MEAN, (days, *MEAN.shape)).copy()
    mean[:, 4, 1:] *= city.season
    mean[:, :, 0] += [city.particles, city.particles, city.o3, 0.0, city.temperature, 0.0]
    spread = waves[:, :3] @ SPREAD.T
    series = np.einsum("dsk,dk->ds", mean, waves) + spread * _day_to_day(days, random)
    pm25, coarse, root_o3, root_no2, temperature, humidity = series.T
    return Environment(
        pm25=np.exp(pm25),
        coarse=np.exp(coarse),
        o3=np.maximum(root_o3, 1.0) ** 2,
        no2=np.exp(city.no2) * np.maximum(root_no2, 1.0) ** 2,
        temperature=temperature,
        # The source's logit is of humidity / 100.5, which keeps 100 % finite.
        humidity=np.minimum(100.5 / (1 + np.exp(-humidity)), 100.0),
    )
