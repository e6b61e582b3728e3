"""Finding a scenario by name."""

import pytest

from fedrisk.errors import UsageError
from fedrisk.simulation.scenarios import SCENARIOS, find_scenario


def test_each_scenario_is_found_by_its_name_and_says_what_changes():
    for name in SCENARIOS:
        assert find_scenario(name).name == name
        assert find_scenario(name).description.endswith(".")


def test_an_unknown_name_lists_the_scenarios():
    with pytest.raises(UsageError, match="'heat-dome'") as caught:
        find_scenario("heat-dome")
    assert "none" in caught.value.hint
