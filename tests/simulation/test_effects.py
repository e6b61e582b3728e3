"""The risk model: published effects, amplification, exposures."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.simulation.effects import AMPLIFICATION, EFFECTS, INTERCEPT, log_odds
from fedrisk.study import builtin_study

REFERENCE = {
    "heart_rate": 65.0,
    "steps": 8_000.0,
    "sleep_hours": 7.5,
    "respiratory_rate": 15.0,
    "body_temp": 36.6,
    "pm25": 0.0,
    "no2": 0.0,
    "o3": 0.0,
    "temperature": 18.0,
    "age": 60.0,
    "male": 0.0,
}


def risk_of(amplification=AMPLIFICATION, **changes):
    row = {name: np.array([value]) for name, value in (REFERENCE | changes).items()}
    return float(log_odds(row, amplification)[0])


def test_the_reference_row_has_the_intercept():
    assert risk_of() == pytest.approx(INTERCEPT)
    assert risk_of(amplification=0) == pytest.approx(INTERCEPT)


@pytest.mark.parametrize(
    ("changes", "published"),
    [
        ({"pm25": 10.0}, log(1.0068)),
        ({"no2": 10.0}, log(1.0046)),
        ({"o3": 10.0}, log(1.0018)),
        ({"temperature": 26.0}, 2 * log(1.0312)),
        ({"temperature": 4.0}, 6 * log(1.0135)),
        ({"heart_rate": 75.0}, log(1.09)),
        ({"heart_rate": 55.0}, -log(1.09)),
        ({"sleep_hours": 6.0}, log(1.12)),
        ({"sleep_hours": 9.0}, log(1.30)),
        ({"respiratory_rate": 16.0}, log(1.18)),
        ({"body_temp": 36.749}, log(1.084)),
    ],
)
def test_effects_of_a_day_are_as_published_times_the_amplification(changes, published):
    assert risk_of(amplification=1, **changes) - INTERCEPT == pytest.approx(published)
    assert risk_of(amplification=5, **changes) - INTERCEPT == pytest.approx(5 * published)


@pytest.mark.parametrize(
    ("changes", "published"),
    [
        ({"steps": 9_000.0}, log(0.88)),
        ({"age": 70.0}, log(1.57)),
        ({"male": 1.0}, log(1.79)),
    ],
)
@pytest.mark.parametrize("amplification", [0.0, 1.0, 7.0])
def test_effects_of_a_person_are_never_scaled(changes, published, amplification):
    assert risk_of(amplification, **changes) - INTERCEPT == pytest.approx(published)


def test_no_effect_goes_on_without_end():
    assert risk_of(steps=45_000.0) == risk_of(steps=17_000.0)
    assert risk_of(steps=0.0) == risk_of(steps=2_700.0)
    assert risk_of(sleep_hours=0.5) == risk_of(sleep_hours=4.0)
    assert risk_of(sleep_hours=14.0) == risk_of(sleep_hours=10.0)


@given(st.floats(10.0, 24.0), st.floats(7.0, 8.0))
def test_mild_days_and_usual_nights_add_nothing(temperature, sleep):
    assert risk_of(temperature=temperature, sleep_hours=sleep) == pytest.approx(INTERCEPT)


def test_age_slope_follows_from_the_framingham_coefficients():
    age = next(effect for effect in EFFECTS if effect.name == "age")
    assert age.coefficient() == pytest.approx((3.06117 + 2.32888) / 2 / 60, rel=0.01)


def test_male_sex_follows_from_the_framingham_counts():
    sex = next(effect for effect in EFFECTS if effect.name == "male sex")
    assert sex.relative_risk == pytest.approx((718 / 3_969) / (456 / 4_522), abs=0.01)


def test_every_effect_names_its_source_and_a_column_of_the_study():
    columns = {*builtin_study("air-wearables").feature_names, "male"}
    for effect in EFFECTS:
        assert effect.column in columns
        assert any(year in effect.source for year in map(str, range(2000, 2030)))
    assert len({effect.name for effect in EFFECTS}) == len(EFFECTS)
