"""Any version can be had, without a move of an alias."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fedrisk.errors import ModelNotFoundError
from fedrisk.home import Home
from fedrisk.registry.cache import read_model
from fedrisk.registry.fetch import fetch_version, pin_version
from fedrisk.registry.promotion import promote, register_outcome
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


def test_another_model_than_the_one_that_serves_is_fetched_by_name(tmp_path, make_result):
    home = Home(tmp_path / "home").prepare()
    other = Settings(tracking_uri=None, registry_name="other")
    record_training(make_result("run-1", 1), home, SETTINGS)
    register_outcome(home, SETTINGS, "run-1", False, NOW)
    record_training(make_result("run-2", 2), home, other)
    register_outcome(home, other, "run-2", False, NOW)
    assert fetch_version(home, other, "1").run_id == "run-2"
    with pytest.raises(ModelNotFoundError, match="'other' has no champion") as caught:
        fetch_version(home, other, None)
    assert caught.value.hint.endswith("versions: 1")
    promote(home, other, "1", "", NOW)
    heart = Settings(tracking_uri=None, registry_name="heart")
    assert fetch_version(home, heart, None).run_id == "run-1"
    unknown = Settings(tracking_uri=None, registry_name="zzz")
    with pytest.raises(ModelNotFoundError, match="no model 'zzz'"):
        fetch_version(home, unknown, None)


def test_a_pinned_version_has_a_cache_of_its_own(tmp_path, make_result):
    home = Home(tmp_path / "home").prepare()
    for seed in (1, 2):
        record_training(make_result(f"run-{seed}", seed), home, SETTINGS)
    register_outcome(home, SETTINGS, "run-1", False, NOW)
    pin_version(home, SETTINGS, "2")
    assert read_model(home.pinned("2")).run_id == "run-2"
    assert read_model(home.champion).version == "1"
    with pytest.raises(ModelNotFoundError, match="no version '9'"):
        pin_version(home, SETTINGS, "9")
    assert not home.pinned("9").exists()
