"""The wearable: LifeSnaps' means, spread between and within people, autocorrelation and wear."""

import numpy as np
import pytest

from fedrisk.simulation import wearable
from fedrisk.simulation.wearable import VARIABLES, simulate_wear, simulate_wearable

DAYS, PEOPLE = 200, 1_500


@pytest.fixture(scope="module")
def days():
    simulated = simulate_wearable(DAYS, PEOPLE, np.random.default_rng(5))
    values = {name: getattr(simulated, name) for name in VARIABLES}
    return values | {"steps": np.sqrt(values["steps"])}


#: Of LifeSnaps (steps on their root): standard deviation, share of variance between people.
SOURCE = {
    "heart_rate": (65.9, 7.25, 0.86),
    "steps": (86.6, 32.3, 0.25),
    "sleep_hours": (6.57, 1.61, 0.21),
    "respiratory_rate": (15.2, 2.72, 0.77),
}


@pytest.mark.parametrize("name", SOURCE)
def test_means_and_spread_are_those_of_the_source(days, name):
    mean, spread, share = SOURCE[name]
    values = days[name]
    assert values.mean() == pytest.approx(mean, rel=0.02)
    assert values.std() == pytest.approx(spread, rel=0.06)
    within = values.var(axis=0, ddof=1).mean()
    between = values.mean(axis=0).var(ddof=1) - within / DAYS
    assert between / (between + within) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("heart_rate", 0.88), ("steps", 0.17), ("sleep_hours", 0.0), ("respiratory_rate", 0.20)],
)
def test_days_resemble_the_same_persons_day_before(days, name, expected):
    rest = days[name] - days[name].mean(axis=0)
    found = np.corrcoef(rest[1:].ravel(), rest[:-1].ravel())[0, 1]
    assert found == pytest.approx(expected, abs=0.03)


def test_sleep_has_heavy_tails_within_a_person(days):
    rest = days["sleep_hours"] - days["sleep_hours"].mean(axis=0)
    kurtosis = (rest**4).mean() / (rest**2).mean() ** 2 - 3
    assert 2.0 < kurtosis < 4.5


def test_quantiles_of_steps_and_sleep_are_near_those_of_the_source(days):
    steps = np.quantile(days["steps"] ** 2, [0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(steps[1:], [4458, 7413, 11054, 18595], rtol=0.10)
    sleep = np.quantile(days["sleep_hours"], [0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(sleep, [3.82, 5.73, 6.68, 7.57, 8.82], atol=0.35)


def test_people_with_a_slow_heart_walk_more_and_fast_breathing_goes_with_a_fast_heart(days):
    own = {name: values.mean(axis=0) for name, values in days.items()}
    assert np.corrcoef(own["heart_rate"], own["steps"])[0, 1] == pytest.approx(-0.41, abs=0.07)
    rest = {name: values - own[name] for name, values in days.items()}
    pair = rest["heart_rate"].ravel(), rest["respiratory_rate"].ravel()
    # Two processes of unlike memory are less correlated on one day than their innovations are.
    assert 0.1 < np.corrcoef(*pair)[0, 1] < 0.25


def test_wear_keeps_its_share_spread_and_persistence():
    worn = simulate_wear(400, 4_000, np.random.default_rng(7)).astype(float)
    alpha, beta = wearable.WEAR_BETA
    assert worn.mean() == pytest.approx(alpha / (alpha + beta), abs=0.02)
    assert worn.mean(axis=0).std() == pytest.approx(0.324, abs=0.03)
    assert worn[0].mean() == pytest.approx(worn[-1].mean(), abs=0.04)
    rest = worn - worn.mean(axis=0)
    lag = (rest[1:] * rest[:-1]).mean() / (rest**2).mean()
    assert lag == pytest.approx(wearable.WEAR_PERSISTENCE, abs=0.03)
