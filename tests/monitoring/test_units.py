"""Unit errors are told from weeks that only lie near where another unit would."""

import numpy as np
import pytest

from fedrisk.models.bins import count, feature_edges
from fedrisk.monitoring.units import CONVERSIONS, BinnedColumn, bin_centres, suspected_units
from fedrisk.study import builtin_study

FEATURES = {feature.name: feature for feature in builtin_study("air-wearables").numbers}
RANDOM = np.random.default_rng(5)


def column(name, values):
    feature = FEATURES[name]
    low, high = feature.limits
    inside = values[(values >= low) & (values <= high)]
    assert len(feature_edges(feature)) + 1 == len(count(inside, feature_edges(feature)))
    return BinnedColumn(count(inside, feature_edges(feature)), float(len(values) - len(inside)))


def ozone(root, spread, rows=2_000):
    return np.maximum(RANDOM.normal(root, spread, rows), 1.0) ** 2


WINTER, SUMMER = ozone(4.6, 1.5), ozone(9.0, 1.5)
YEAR = column("o3", np.concatenate([WINTER, SUMMER]))


def test_a_week_of_little_ozone_is_a_week_of_little_ozone():
    calm = np.minimum(ozone(2.2, 0.5), 12.0)
    assert suspected_units(FEATURES["o3"], column("o3", WINTER), YEAR, column("o3", calm)) == ()


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "mg/m3")])
def test_ozone_in_another_unit_is_suspected(factor, unit):
    current = column("o3", ozone(4.6, 1.5) * factor)
    assert unit in suspected_units(FEATURES["o3"], column("o3", WINTER), YEAR, current)


@pytest.mark.parametrize("name", ["body_temp", "temperature"])
def test_fahrenheit_is_suspected(name):
    centre, spread = (36.6, 0.25) if name == "body_temp" else (8.0, 4.0)
    celsius = RANDOM.normal(centre, spread, 2_000)
    usual = column(name, RANDOM.normal(centre, spread, 2_000))
    current = column(name, celsius * 1.8 + 32)
    assert "degF" in suspected_units(FEATURES[name], usual, usual, current)


@pytest.mark.parametrize(
    ("unit", "value", "other", "same"),
    [
        ("degC", 37.0, "degF", 98.6),
        ("degC", 0.0, "K", 273.15),
        ("degF", 212.0, "degC", 100.0),
        ("h", 1.5, "min", 90.0),
        ("h", 1.5, "s", 5400.0),
        ("min", 90.0, "h", 1.5),
        ("min", 2.0, "s", 120.0),
        ("ug/m3", 25.0, "mg/m3", 0.025),
        ("ug/m3", 0.5, "ng/m3", 500.0),
        ("beats/min", 90.0, "beats/s", 1.5),
        ("breaths/min", 18.0, "breaths/s", 0.3),
        ("steps/day", 8000.0, "thousand steps/day", 8.0),
        ("%", 45.0, "fraction of 1", 0.45),
        ("year", 2.0, "month", 24.0),
        ("year", 4.0, "day", 1461.0),
        ("kg", 70.0, "g", 70_000.0),
        ("kg", 100.0, "lb", 220.462),
        ("cm", 170.0, "m", 1.7),
        ("cm", 170.0, "mm", 1700.0),
        ("cm", 254.0, "inch", 100.0),
        ("m", 1.7, "cm", 170.0),
        ("m", 1.7, "mm", 1700.0),
        ("mmHg", 120.0, "kPa", 15.99864),
        ("hPa", 1013.25, "Pa", 101_325.0),
        ("hPa", 1013.25, "mmHg", 760.0),
    ],
)
def test_a_value_in_another_unit_is_the_same_quantity(unit, value, other, same):
    (found,) = (each for each in CONVERSIONS[unit] if each.unit == other)
    assert found.apply(np.array([value]))[0] == pytest.approx(same, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", FEATURES)
def test_an_open_bin_is_as_wide_as_its_neighbour_within_what_is_possible(name):
    edges, centres = feature_edges(FEATURES[name]), bin_centres(FEATURES[name])
    low, high = FEATURES[name].limits
    first, last = edges[1] - edges[0], edges[-1] - edges[-2]
    assert edges[0] - centres[0] == pytest.approx(min(first, edges[0] - low) / 2)
    assert centres[-1] - edges[-1] == pytest.approx(min(last, high - edges[-1]) / 2)
