import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.sites.drafting.rounding import WIDEST, hard_bounds, plausible_range, risk_bands

VALUES = st.floats(-1e12, 1e12)


@given(VALUES, VALUES)
def test_hard_bounds_hold_what_was_seen(first: float, second: float) -> None:
    low, high = sorted((first, second))
    below, above = hard_bounds(low, high)
    if below is None or above is None:
        assert high - low <= 1 / WIDEST
        return
    assert below <= low <= high <= above
    assert below < above
    assert low < 0 or below >= 0
    assert high > 0 or above <= 0 or low >= 0


@given(VALUES, VALUES)
def test_plausible_ranges_hold_what_is_usual(first: float, second: float) -> None:
    low, high = sorted((first, second))
    found = plausible_range(low, high)
    if found is not None:
        assert found[0] <= low + 1e-9 * abs(low)
        assert found[1] >= high - 1e-9 * abs(high)


def test_a_value_beside_which_the_step_is_huge_stays_inside() -> None:
    assert plausible_range(-100.0, 5e-324) == (-100.0, 10.0)
    assert plausible_range(-5e-324, 100.0) == (-10.0, 100.0)


def test_too_large_numbers_have_no_bounds() -> None:
    assert hard_bounds(-1e308, 1e308) == (None, None)
    assert hard_bounds(-6e99, 6e99) == (None, None)  # wider by half they would be no study's bounds
    assert plausible_range(-1e308, 1e308) is None
    assert plausible_range(0.0, 1.7e308) is None
    assert plausible_range(3.0, 3.0) is None


@pytest.mark.parametrize(
    ("prevalence", "bands"),
    [
        (0.07, (0.07, 0.21)),
        (0.00001, (0.001, 0.003)),
        (0.5, (0.5, 0.75)),
        (0.99, (0.5, 0.75)),
        (0.3, (0.3, 0.65)),
    ],
)
def test_bands(prevalence: float, bands: tuple[float, float]) -> None:
    assert risk_bands(prevalence) == bands


@given(st.floats(0, 1))
def test_bands_are_ordered(prevalence: float) -> None:
    medium, high = risk_bands(prevalence)
    assert 0 < medium < high < 1
