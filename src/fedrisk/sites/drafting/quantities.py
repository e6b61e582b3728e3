"""Well-known quantities by column name: their usual unit and what is possible at all.

Bounds are physical or instrumental limits, not normal ranges: outside them a value is an error in
writing, or stands in another unit. They agree with the built-in study where both name a quantity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """A measured quantity: names that columns give it (lower case), unit, hard bounds."""

    names: tuple[str, ...]
    unit: str
    minimum: float
    maximum: float


QUANTITIES = (
    Quantity(("age", "age_years"), "year", 0, 120),
    Quantity(("heart_rate", "resting_heart_rate", "pulse", "hr", "bpm"), "beats/min", 20, 250),
    Quantity(("sbp", "sysbp", "systolic", "systolic_bp"), "mmHg", 30, 300),
    Quantity(("dbp", "diabp", "diastolic", "diastolic_bp"), "mmHg", 10, 200),
    Quantity(("respiratory_rate", "breathing_rate", "resp_rate"), "breaths/min", 3, 80),
    Quantity(("spo2", "oxygen_saturation"), "%", 30, 100),
    Quantity(("body_temp", "body_temperature"), "degC", 25, 45),
    Quantity(("height", "height_cm"), "cm", 30, 250),
    Quantity(("weight", "weight_kg"), "kg", 0.3, 500),
    Quantity(("bmi", "body_mass_index"), "kg/m2", 8, 150),
    Quantity(("steps", "step_count", "steps_count"), "steps/day", 0, 200_000),
    Quantity(("sleep_hours", "sleep_duration_hours"), "h", 0, 24),
    Quantity(("pm25", "pm2_5"), "ug/m3", 0, 5000),
    Quantity(("pm10",), "ug/m3", 0, 20_000),
    Quantity(("o3", "ozone"), "ug/m3", 0, 2000),
    Quantity(("no2",), "ug/m3", 0, 2000),
    Quantity(("so2",), "ug/m3", 0, 5000),
    Quantity(("temperature", "temp", "air_temperature"), "degC", -90, 60),
    Quantity(("humidity", "relative_humidity", "rh"), "%", 0, 100),
    Quantity(("pressure", "air_pressure", "atmospheric_pressure"), "hPa", 500, 1100),
)


def quantity(name: str) -> Quantity | None:
    """Look a column's name up; case and signs between words do not matter.

    >>> quantity("PM2.5").unit
    'ug/m3'
    >>> quantity("shoe size") is None
    True
    """
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return next((known for known in QUANTITIES if plain in known.names), None)
