"""The same registry behind a real MLflow server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from fedrisk.home import Home
from fedrisk.registry.cache import read_model
from fedrisk.registry.promotion import promote, refresh_cache, register_outcome, rollback
from fedrisk.registry.record import record_training
from fedrisk.settings import Settings

NOW = datetime(2025, 3, 1, tzinfo=UTC)


def _wait(url, process, log):
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
        except OSError:
            time.sleep(0.4)
        else:
            return
    pytest.fail(log.read_text())


@pytest.fixture
def server(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "served")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, start_new_session=True, env=environment
        )
    try:
        _wait(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


@pytest.mark.slow
def test_record_promote_follow_and_roll_back_over_http(server, tmp_path, make_result):
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
