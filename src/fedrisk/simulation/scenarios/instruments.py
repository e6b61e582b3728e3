"""Scenarios of what is written: instruments, units and feeds; people and risks stay."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedrisk.simulation.scenarios.scenario import Columns, Scenario, Written
from fedrisk.study.records import FloatArray

_VALIDATION = (
    "shifts within what devices are off by: heart rate 3.5 beats/min (Nelson and Allen, JMIR "
    "Mhealth Uhealth 2019;7:e10828), sleep 7 to 67 min (Haghayegh et al., J Med Internet Res "
    "2019;21:e16273); steps are a choice"
)
#: What the air-quality feed brings.
FEED = ("pm25", "pm10", "o3", "no2")
_IN_FAHRENHEIT = ("body_temp", "temperature")


def _device(shifts: Mapping[str, float], steps: float) -> Written:
    """A device that adds to what it measures, and multiplies steps."""

    def written(exposures: Columns, extent: FloatArray) -> dict[str, FloatArray]:
        shifted = {name: exposures[name] + by * extent for name, by in shifts.items()}
        return {**exposures, **shifted, "steps": exposures["steps"] * steps**extent}

    return written


def _fahrenheit(exposures: Columns, extent: FloatArray) -> dict[str, FloatArray]:
    wrong = {
        name: np.where(extent > 0, exposures[name] * 9 / 5 + 32, exposures[name])
        for name in _IN_FAHRENHEIT
    }
    return {**exposures, **wrong}


def _no_feed(exposures: Columns, extent: FloatArray) -> dict[str, FloatArray]:
    missing = {name: np.where(extent > 0, np.nan, exposures[name]) for name in FEED}
    return {**exposures, **missing}


SENSOR_FIRMWARE = Scenario(
    "sensor-firmware",
    "New firmware in every wearable: heart rate 3.5 beats/min lower, sleep 36 min longer, steps a "
    "tenth more; people are as before.",
    kind="covariate",
    source=_VALIDATION,
    features=("heart_rate", "sleep_hours", "steps"),
    written=_device({"heart_rate": -3.5, "sleep_hours": 0.6}, 1.1),
)
ONE_SITE = Scenario(
    "one-site",
    "The first site hands out another maker's wearable: heart rate 5 beats/min and breathing "
    "1.5 breaths/min higher, sleep 48 min longer, steps a fifth more; other sites stay.",
    kind="site",
    source=_VALIDATION + "; breathing is a choice",
    features=("heart_rate", "respiratory_rate", "sleep_hours", "steps"),
    first_site_only=True,
    written=_device({"heart_rate": 5.0, "respiratory_rate": 1.5, "sleep_hours": 0.8}, 1.2),
)
UNIT_ERROR = Scenario(
    "unit-error",
    "The first site writes temperatures of body and air in degF instead of degC.",
    kind="quality",
    source="degF = 9/5 degC + 32",
    features=_IN_FAHRENHEIT,
    first_site_only=True,
    sized=False,
    written=_fahrenheit,
)
MISSING_FEED = Scenario(
    "missing-feed",
    "The air-quality feed of every city stops: particles, ozone and nitrogen dioxide are missing.",
    kind="quality",
    features=FEED,
    sized=False,
    written=_no_feed,
)
