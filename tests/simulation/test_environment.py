"""Air and weather: marginals of the source, seasons, episodes, physical consistency."""

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from fedrisk.simulation import environment
from fedrisk.simulation.environment import City, calendar, simulate_environment
from fedrisk.simulation.people import simulate_people

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
START = date(2001, 1, 1)
YEARS = 24
#: Mean, and quantiles .05, .5 and .95, of the source's station-days.
SOURCE = {
    "pm25": (78.2, 10.7, 59.0, 221.4),
    "pm10": (103.3, 21.6, 86.2, 250.4),
    "o3": (59.0, 5.7, 53.7, 133.1),
    "no2": (48.7, 11.6, 44.0, 103.7),
    "temperature": (13.5, -2.8, 15.0, 28.5),
    "humidity": (52.9, 21.0, 52.7, 86.4),
}


@pytest.fixture(scope="module")
def air():
    return simulate_environment(City(), START, 365 * YEARS, np.random.default_rng(3))


@pytest.fixture(scope="module")
def series(air):
    """Days at a random place of the city, as the source's station-days are."""
    places = simulate_people(0, 365 * YEARS, np.random.default_rng(4))
    return {
        "pm25": air.pm25 * places.particles,
        "pm10": (air.pm25 + air.coarse) * places.particles,
        "o3": np.maximum(np.sqrt(air.o3) + places.o3, 1.0) ** 2,
        "no2": air.no2 * places.no2,
        "temperature": air.temperature,
        "humidity": air.humidity,
    }


def months():
    return calendar(START, 365 * YEARS).astype("datetime64[M]").astype(int) % 12 + 1


@pytest.mark.parametrize("name", SOURCE)
def test_marginals_of_the_fitted_city_are_those_of_the_source(series, name):
    mean, low, median, high = SOURCE[name]
    assert series[name].mean() == pytest.approx(mean, rel=0.10)
    simulated_low, simulated_median, simulated_high = np.quantile(series[name], [0.05, 0.5, 0.95])
    spread = high - low
    assert simulated_low == pytest.approx(low, abs=0.08 * spread)
    assert simulated_median == pytest.approx(median, abs=0.10 * spread)
    assert simulated_high == pytest.approx(high, abs=0.12 * spread)


def anomalies(values):
    """Deviation from the mean of the calendar month, in its standard deviations."""
    month = months()
    result = np.empty_like(values)
    for number in range(1, 13):
        rows = month == number
        result[rows] = (values[rows] - values[rows].mean()) / values[rows].std()
    return result


def test_days_resemble_the_day_before_as_in_the_source(air):
    source = {"pm25": 0.53, "no2": 0.48, "temperature": 0.69}
    for name, expected in source.items():
        values = getattr(air, name)
        rest = anomalies(np.log(values) if name != "temperature" else values)
        assert np.corrcoef(rest[1:], rest[:-1])[0, 1] == pytest.approx(expected, abs=0.08)


def test_pollutants_go_together_and_ozone_against_them(air):
    particles = anomalies(np.log(air.pm25))
    assert np.corrcoef(particles, anomalies(np.log(air.no2)))[0, 1] > 0.7
    assert np.corrcoef(particles, anomalies(air.humidity))[0, 1] > 0.5
    assert np.corrcoef(anomalies(np.sqrt(air.o3)), anomalies(np.log(air.no2)))[0, 1] < -0.25


def test_ozone_and_temperature_peak_in_summer_and_particles_in_winter(air):
    summer, winter = np.isin(months(), (6, 7, 8)), np.isin(months(), (12, 1, 2))
    assert air.o3[summer].mean() > 2 * air.o3[winter].mean()
    assert air.temperature[summer].mean() > air.temperature[winter].mean() + 20
    assert np.quantile(air.pm25[winter], 0.95) > 1.3 * np.quantile(air.pm25[summer], 0.95)


def test_values_are_physically_possible(air):
    assert (air.coarse > 0).all()
    assert (air.o3 > 0).all()
    assert (air.humidity > 0).all()
    assert (air.humidity <= 100).all()


def test_a_citys_shifts_move_what_they_name_and_nothing_else():
    def simulated(city):
        return simulate_environment(city, START, 730, np.random.default_rng(0))

    plain = simulated(City())
    np.testing.assert_allclose(simulated(City(particles=np.log(2))).pm25, 2 * plain.pm25)
    np.testing.assert_allclose(simulated(City(no2=np.log(0.5))).no2, plain.no2 / 2)
    warm = simulated(City(temperature=4.0))
    np.testing.assert_allclose(warm.temperature, plain.temperature + 4)
    np.testing.assert_array_equal(warm.pm25, plain.pm25)
    mild = simulated(City(season=0.5))
    assert np.ptp(mild.temperature) < 0.7 * np.ptp(plain.temperature)


def test_the_day_to_day_process_is_stationary():
    assert np.abs(np.linalg.eigvals(environment.TRANSITION)).max() < 1


@pytest.mark.skipif(
    not (DATA / "beijing_air").is_dir() or not (DATA / "lifesnaps_daily").is_dir(),
    reason="the source data (../shared/data) is absent",
)
def test_the_script_prints_the_figures_in_the_code():
    pytest.importorskip("pyarrow")
    script = ROOT / "scripts" / "fit_simulation_parameters.py"
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", script, "--data", DATA],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    numbers = np.array(
        [float(x) for x in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", printed.split("transition")[1])]
    )
    size = environment.TRANSITION.size
    np.testing.assert_allclose(numbers[:size], environment.TRANSITION.ravel(), atol=1e-9)
    np.testing.assert_allclose(numbers[size : 2 * size], environment.INNOVATION.ravel(), atol=1e-9)
    means = re.findall(r"mean=\[(.*?)\] spread=\[(.*?)\]", printed)
    for row, (mean, spread) in enumerate(means):
        assert [float(x) for x in mean.split(",")] == environment.MEAN[row].tolist()
        assert [float(x) for x in spread.split(",")] == environment.SPREAD[row].tolist()
    assert len(means) == len(environment.SERIES)
