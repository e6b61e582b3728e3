"""The follower beside a server: it comes again when it dies, and ends with the server."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from running import wait_until

from fedrisk.home import Home
from fedrisk.registry.follower_status import FollowerStatus, write_status
from fedrisk.serving import following
from fedrisk.serving.app import create_app
from fedrisk.serving.following import FollowerFigures, Supervisor

from .conftest import TestClient


def test_a_child_that_ends_is_started_again(tmp_path: Path, monkeypatch) -> None:
    program = f"open({str(tmp_path / 'starts')!r}, 'a').write('.')"
    monkeypatch.setattr(following, "COMMAND", program)
    said: list[str] = []
    supervisor = Supervisor([], said.append, pause=0.01)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    assert wait_until(lambda: len(said) >= 3, 20)
    supervisor.ended.set()
    thread.join(20)
    assert not thread.is_alive()
    assert len((tmp_path / "starts").read_text()) >= 3
    assert said[0] == "the follower ended with code 0; another starts"


def test_nothing_is_started_where_nothing_is_followed(home: Home) -> None:
    before = threading.active_count()
    with following.following(home, None, None, print):
        assert threading.active_count() == before


def test_a_refused_version_is_told_by_ready_and_metrics(home: Home) -> None:
    at = "2025-03-01T12:00:00+00:00"
    refused = FollowerStatus("refused", at, "version 3 changed", "restore it")
    write_status(home.follower_status, refused)
    with TestClient(create_app(home, watch_seconds=3600)) as client:
        ready = client.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["registry"] == json.loads(home.follower_status.read_text())
        text = client.get("/metrics").text
    assert 'registry_follower_state{state="refused"} 1.0' in text
    assert 'registry_follower_state{state="following"} 0.0' in text


def test_without_a_follower_there_are_no_figures(home: Home) -> None:
    registry = CollectorRegistry()
    registry.register(FollowerFigures(home.follower_status))
    assert generate_latest(registry) == b""
