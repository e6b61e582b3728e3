"""Unit errors are told from weeks that only lie near where another unit would."""

import numpy as np
import pytest

from fedrisk.models.bins import count, feature_edges
from fedrisk.monitoring.units import BinnedColumn, suspected_units
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
