from __future__ import annotations

from pathlib import Path

import pytest

from fedrisk.errors import UsageError
from fedrisk.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FEDRISK_{name.upper()}", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_without_an_environment_it_is_one_machine_on_loopback():
    settings = read_settings()
    assert settings.host == "127.0.0.1"
    assert settings.home == Path("fedrisk-home")
    assert settings.tracking_uri is None


def test_the_environment_is_read_when_asked(monkeypatch):
    monkeypatch.setenv("FEDRISK_HOME", "elsewhere")
    monkeypatch.setenv("FEDRISK_PORT", "9000")
    assert read_settings().home == Path("elsewhere")
    assert read_settings().port == 9000


@pytest.mark.parametrize("name", ["FEDRISK_TRACKING_URI", "MLFLOW_TRACKING_URI"])
def test_the_registry_has_two_names(monkeypatch, name):
    monkeypatch.setenv(name, "http://registry:5000")
    assert read_settings().tracking_uri == "http://registry:5000"


def test_our_name_of_the_registry_wins(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://theirs:5000")
    monkeypatch.setenv("FEDRISK_TRACKING_URI", "http://ours:5000")
    assert read_settings().tracking_uri == "http://ours:5000"


@pytest.mark.parametrize(
    ("name", "value"), [("port", "70000"), ("port", "http"), ("log_level", "loud")]
)
def test_a_value_that_does_not_fit_is_a_usage_error(monkeypatch, name, value):
    monkeypatch.setenv(f"FEDRISK_{name.upper()}", value)
    with pytest.raises(UsageError, match=name) as caught:
        read_settings()
    assert "docs/settings.md" in caught.value.hint


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        read_settings().port = 1
