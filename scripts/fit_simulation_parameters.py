"""Fit the parameters of the simulated cohort to public data and print them.

Usage::

    python scripts/fit_simulation_parameters.py --data ../shared/data

Needs two folders below ``--data``; nothing of them is stored, only the printed figures are:

* ``beijing_air/*.csv.gz``: hourly air quality and weather, 8 stations, March 2013 to February 2017.
  Zhang et al., Proc. R. Soc. A 2017;473:20170457 (UCI Beijing Multi-Site Air-Quality).
* ``lifesnaps_daily/daily_fitbit_sema_df_unprocessed.csv``: 71 people's wearable days.
  Yfantidou et al., Scientific Data 2022;9:663 (LifeSnaps).

The figures go into ``src/fedrisk/simulation/environment.py`` and ``wearable.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyarrow import csv

Array = NDArray[np.float64]
HOURS = 24
#: A station's day counts with at least this many hours, a person with at least this many days.
ENOUGH_HOURS, ENOUGH_DAYS = 18, 15
FIRST_DAY = np.datetime64("2013-03-01")


def saturation_pressure(celsius: Array) -> Array:
    """Saturation vapour pressure over water, hPa (Magnus formula, WMO No. 8 coefficients)."""
    return np.asarray(6.112 * np.exp(17.62 * celsius / (243.12 + celsius)))


def station_days(file: Path) -> dict[str, Array]:
    """Daily means of one station; NaN where fewer than ENOUGH_HOURS hours are known."""
    options = csv.ConvertOptions(null_values=["NA", ""])
    table = csv.read_csv(file, convert_options=options)
    hourly = {
        name: np.asarray(table[column].to_numpy(), np.float64).reshape(-1, HOURS)
        for name, column in {
            "pm25": "PM2.5",
            "pm10": "PM10",
            "o3": "O3",
            "no2": "NO2",
            "temperature": "TEMP",
            "dew_point": "DEWP",
        }.items()
    }
    dew_point = hourly.pop("dew_point")
    wet = saturation_pressure(dew_point) / saturation_pressure(hourly["temperature"])
    hourly["humidity"] = np.minimum(100 * wet, 100.0)
    return {name: daily_mean(values) for name, values in hourly.items()}


def daily_mean(hourly: Array) -> Array:
    """Mean of the known hours of each row; NaN where too few are known."""
    known = np.isfinite(hourly)
    count = known.sum(axis=1)
    total = np.where(known, hourly, 0.0).sum(axis=1)
    return np.where(count >= ENOUGH_HOURS, total / np.maximum(count, 1), np.nan)


def harmonics(days: int) -> Array:
    """Intercept, and cosine and sine of the year and the half year; the year starts 1 January."""
    dates = FIRST_DAY + np.arange(days)
    day = (dates - dates.astype("datetime64[Y]")).astype(np.float64)
    angle = 2 * np.pi * day / 365.25
    waves = [np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    return np.column_stack([np.ones(days), *waves])


def fit_environment(folder: Path) -> None:
    """Print seasonal means, seasonal spread and the day-to-day VAR(1) of the city's mean day."""
    stations = [station_days(file) for file in sorted(folder.glob("*.csv.gz"))]
    city = {name: np.nanmean([s[name] for s in stations], axis=0) for name in stations[0]}
    scales = {
        "pm25": np.log(city["pm25"]),
        "coarse": np.log(np.maximum(city["pm10"] - city["pm25"], 2.0)),
        "o3": np.sqrt(city["o3"]),
        "no2": np.sqrt(city["no2"]),
        "temperature": city["temperature"],
        "humidity": np.log(city["humidity"] / (100.5 - city["humidity"])),
    }
    waves = harmonics(len(city["pm25"]))
    residuals = []
    for name, values in scales.items():
        known = np.isfinite(values)
        mean = np.linalg.lstsq(waves[known], values[known], rcond=None)[0]
        rest = values - waves @ mean
        year = waves[:, :3]
        # The mean absolute deviation of a normal variable is sqrt(2 / pi) of its spread.
        spread = np.linalg.lstsq(year[known], np.abs(rest[known]), rcond=None)[0]
        spread = spread * np.sqrt(np.pi / 2)
        z = rest / (year @ spread)
        residuals.append(z)
        low, high = np.nanquantile(z, [0.001, 0.999])
        print(f"{name}: mean={mean.round(3).tolist()} spread={spread.round(3).tolist()}")
        print(f"  standardised: sd={np.nanstd(z):.3f} range=({low:.2f}, {high:.2f})")
    print_var(np.column_stack(residuals))
    print_stations(stations)


def print_var(z: Array) -> None:
    """Print transition and innovation covariance of z_t = A z_(t-1) + e, least squares."""
    both = np.isfinite(z[1:]).all(axis=1) & np.isfinite(z[:-1]).all(axis=1)
    before, after = z[:-1][both], z[1:][both]
    transition = np.linalg.lstsq(before, after, rcond=None)[0].T
    noise = np.cov((after - before @ transition.T).T)
    print("transition =", transition.round(3).tolist())
    print("innovation =", noise.round(3).tolist())


def print_stations(stations: list[dict[str, Array]]) -> None:
    """Print the quantiles over station-days, and how much the stations' means differ."""
    for name in stations[0]:
        values = np.concatenate([s[name] for s in stations])
        quantiles = np.nanquantile(values, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
        means = np.array([np.nanmean(s[name]) for s in stations])
        print(
            f"{name}: mean={np.nanmean(values):.1f} sd={np.nanstd(values):.1f} "
            f"quantiles={quantiles.round(1).tolist()} "
            f"stations' log means sd={np.log(means).std(ddof=1):.3f}"
        )


def fit_wearable(file: Path) -> None:
    """Print mean, spread between and within people, autocorrelation and wear of the wearable."""
    table = csv.read_csv(file)
    _, person = np.unique(
        np.asarray(table["id"].to_numpy(zero_copy_only=False), str), return_inverse=True
    )
    day = np.asarray(table["date"].to_numpy().astype("datetime64[D]"), np.int64)
    column = {
        name: np.asarray(table[name].to_numpy(), np.float64)
        for name in table.schema.names
        if name in _FITBIT
    }
    breathing = column["full_sleep_breathing_rate"]
    series = {
        "heart_rate": column["resting_hr"],
        "steps (root)": np.sqrt(column["steps"]),
        "sleep_hours": column["minutesAsleep"] / 60,
        "respiratory_rate": np.where(breathing > 0, breathing, np.nan),
        "nightly_temperature": column["nightly_temperature"],
    }
    for name, values in series.items():
        print_series(name, values, person, day)
    names = list(series)[:4]
    print_correlations(names, [series[name] for name in names], person)
    worn = np.isfinite(np.column_stack([series[n] for n in names[:3]])).all(axis=1)
    print_wear(worn.astype(np.float64), person, day)


_FITBIT = (
    "resting_hr",
    "steps",
    "minutesAsleep",
    "full_sleep_breathing_rate",
    "nightly_temperature",
)


def centred(values: Array, person: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """Deviations from the person's mean, the people's means and their numbers of days."""
    count = np.bincount(person).astype(np.float64)
    mean = np.bincount(person, values) / np.maximum(count, 1)
    return values - mean[person], mean[count > 0], count[count > 0]


def lag_correlation(rest: Array, person: NDArray[np.int64], day: NDArray[np.int64]) -> float:
    """Correlation of a person's day with the same person's day before."""
    key = person * 1_000_000 + day
    order = np.argsort(key)
    found = np.searchsorted(key[order], key - 1)
    found = np.minimum(found, len(key) - 1)
    has = key[order][found] == key - 1
    return float(np.corrcoef(rest[has], rest[order][found][has])[0, 1])


def print_series(
    name: str, values: Array, person: NDArray[np.int64], day: NDArray[np.int64]
) -> None:
    """Print one variable's moments: variance components by the method of moments."""
    days = np.bincount(person, np.isfinite(values))
    use = np.isfinite(values) & (days[person] >= ENOUGH_DAYS)
    _, who = np.unique(person[use], return_inverse=True)
    rest, means, counts = centred(values[use], who)
    within = (rest**2).sum() / (counts - 1).sum()
    between = means.var(ddof=1) - (within / counts).mean()
    tails = (rest**4).mean() / (rest**2).mean() ** 2 - 3
    quantiles = np.quantile(values[use], [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    print(
        f"{name}: people={len(means)} days={use.sum()} mean={means.mean():.3f} "
        f"sd={values[use].std():.3f} between={between**0.5:.3f} within={within**0.5:.3f} "
        f"lag1={lag_correlation(rest, who, day[use]):.3f} within kurtosis={tails:.2f}"
    )
    print(f"  quantiles={quantiles.round(2).tolist()}")


def print_correlations(names: list[str], series: list[Array], person: NDArray[np.int64]) -> None:
    """Print correlations within people and between their means, over days with all variables."""
    table = np.column_stack(series)
    use = np.isfinite(table).all(axis=1)
    _, who = np.unique(person[use], return_inverse=True)
    parts = [centred(table[use][:, k], who) for k in range(len(names))]
    print("within:", names, np.corrcoef([rest for rest, _, _ in parts]).round(2).tolist())
    print("between:", names, np.corrcoef([mean for _, mean, _ in parts]).round(2).tolist())


def print_wear(worn: Array, person: NDArray[np.int64], day: NDArray[np.int64]) -> None:
    """Print the share of complete days, its spread over people, and its persistence."""
    rest, means, _ = centred(worn, person)
    mean, variance = means.mean(), means.var(ddof=1)
    size = mean * (1 - mean) / variance - 1
    print(
        f"complete days: share={mean:.3f} sd over people={variance**0.5:.3f} "
        f"beta=({mean * size:.2f}, {(1 - mean) * size:.2f}) "
        f"persistence={lag_correlation(rest, person, day):.3f}"
    )


def main() -> None:
    """Fit both data sets and print their parameters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    fit_environment(data / "beijing_air")
    fit_wearable(data / "lifesnaps_daily" / "daily_fitbit_sema_df_unprocessed.csv")


if __name__ == "__main__":
    main()
