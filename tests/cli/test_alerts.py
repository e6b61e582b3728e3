"""`fedrisk alerts`: what is open, and whether it would reach anybody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from fedrisk.cli.alerts import alerts
from fedrisk.errors import UsageError
from fedrisk.home import Home
from fedrisk.monitoring.alerts.alert import Alert
from fedrisk.monitoring.alerts.channels import LogChannel
from fedrisk.monitoring.alerts.notifier import Notifier
from fedrisk.monitoring.alerts.rules import AlertRules
from fedrisk.monitoring.alerts.store import AlertStore

from ..monitoring.alerts.test_notifier import listening

NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


def run(home: Home, *words: str) -> str:
    done = CliRunner().invoke(
        alerts, ["--home", str(home.root), *words], catch_exceptions=False, standalone_mode=False
    )
    return done.output


def test_alerts_are_listed_with_owner_and_runbook(home: Home) -> None:
    assert run(home) == "no alert\n"
    store = AlertStore(f"sqlite:///{home.state}", "")
    feed = Alert("quality", "north", "high", "no feed", "pm25 is missing")
    Notifier(store, AlertRules(), [], LogChannel()).observe("drift", [feed], NOW)
    store.close()
    home.alerts.write_text('[[responsible]]\nowner = "data team"\n')
    assert run(home) == "  high  2026-01-05 00:00  no feed\n"
    (told,) = json.loads(run(home, "--json"))["alerts"]
    assert (told["kind"], told["owner"], told["active"]) == ("quality", "data team", True)
    assert told["runbook"] == "docs/runbooks/alert-quality.md"
    assert "1 open" in run(home, "digest")


def test_channels_are_tried(home: Home) -> None:
    with pytest.raises(UsageError, match="no channel"):
        run(home, "test")
    with listening() as (place, got):
        home.alerts.write_text(f'[[channels]]\nurl = "json://{place}/hook"\n')
        assert run(home, "test") == "apprise: taken\n"
        assert json.loads(got[0][1])["title"] == "[fedrisk] test"
    with pytest.raises(UsageError, match="not every channel"):
        run(home, "test")
