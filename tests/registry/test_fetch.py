"""Any version can be had, without a move of an alias."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fedrisk.errors import ModelNotFoundError
from fedrisk.home import Home
from fedrisk.registry.cache import read_model
from fedrisk.registry.fetch import fetch_version
from fedrisk.registry.promotion import register_outcome
from fedrisk.registry.record import record_training
from fedrisk.settings import Settings

SETTINGS = Settings(tracking_uri=None, registry_name="")
NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


def test_a_version_is_fetched_and_the_champion_stays(tmp_path, make_result):
    home = Home(tmp_path / "home").prepare()
    for seed in (1, 2, 3):
        record_training(make_result(f"run-{seed}", seed), home, SETTINGS)
    register_outcome(home, SETTINGS, "run-1", False, NOW)
    stored = fetch_version(home, SETTINGS, "2")
    assert (stored.version, stored.run_id) == ("2", "run-2")
    assert stored.model.intercept == make_result("run-2", 2).model["intercept"]
    assert read_model(home.champion).version == "1"
    with pytest.raises(ModelNotFoundError, match="no version '9'") as caught:
        fetch_version(home, SETTINGS, "9")
    assert caught.value.hint == "versions: 3, 2, 1"
