"""The same registry behind a real MLflow server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from mlflow_server import mlflow_server

from fedrisk.home import Home
from fedrisk.registry.cache import read_model
from fedrisk.registry.promotion import promote, refresh_cache, register_outcome, rollback
from fedrisk.registry.record import record_training
from fedrisk.settings import Settings

NOW = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture
def server(tmp_path):
    with mlflow_server(tmp_path) as url:
        yield url


@pytest.mark.slow
def test_record_promote_follow_and_roll_back_over_http(server, tmp_path, make_result, capsys):
    settings = Settings(tracking_uri=server, registry_name="")
    home = Home(tmp_path / "home").prepare()
    assert record_training(make_result("run-1", 1), home, settings) == "1"
    assert record_training(make_result("run-1", 1), home, settings) == "1"
    assert record_training(make_result("run-2", 2), home, settings) == "2"
    assert register_outcome(home, settings, "run-1", False, NOW).alias == "champion"
    assert register_outcome(home, settings, "run-2", False, NOW).alias == "challenger"
    promote(home, settings, "2", "better", NOW)
    assert read_model(home.champion).run_id == "run-2"
    follower = Home(tmp_path / "follower").prepare()
    assert refresh_cache(follower, settings).champion == "2"
    assert read_model(follower.champion).digest == read_model(home.champion).digest
    assert rollback(home, settings, "worse", NOW).version == "1"
    assert refresh_cache(follower, settings).changed
    assert read_model(follower.champion).version == "1"
    assert not home.mlflow_artifacts.exists()
    # Ending a run on a server, MLflow would print its address where a command's answer goes.
    assert capsys.readouterr().out == ""
