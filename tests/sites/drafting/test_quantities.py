import pytest

from fedrisk.sites.drafting.quantities import QUANTITIES, quantity
from fedrisk.study import builtin_study


def test_the_table_agrees_with_the_built_in_study() -> None:
    for feature in builtin_study("air-wearables").numbers:
        known = quantity(feature.name)
        assert known is not None, feature.name
        assert (known.unit, known.minimum, known.maximum) == (
            feature.unit,
            feature.minimum,
            feature.maximum,
        )


def test_no_name_stands_for_two_quantities() -> None:
    names = [name for known in QUANTITIES for name in known.names]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["Heart Rate", "heart-rate", "HEART_RATE", " heart_rate "])
def test_spelling_does_not_matter(name: str) -> None:
    known = quantity(name)
    assert known is not None
    assert known.unit == "beats/min"
