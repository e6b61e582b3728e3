"""The registry's champion reaches a serving process that never imports MLflow."""

from __future__ import annotations

import json
import sys

import pytest

from fedrisk.errors import RegistryError
from fedrisk.home import Home
from fedrisk.serving import refresh


def child(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let another program stand for the child process."""
    run = refresh.subprocess.run

    def other(command: list[str], **options: object) -> object:
        assert command[1:3] == ["-m", "fedrisk.serving.refresh"]
        return run([sys.executable, "-c", program, *command[3:]], **options)

    monkeypatch.setattr(refresh.subprocess, "run", other)


def test_the_child_is_told_home_and_registry(home: Home, monkeypatch, tmp_path) -> None:
    seen = tmp_path / "seen"
    child(
        monkeypatch,
        "import json, os, sys; from pathlib import Path\n"
        f"told = [sys.argv[1], os.environ['FEDRISK_TRACKING_URI']]\n"
        f"Path({str(seen)!r}).write_text(json.dumps(told)); print('noise'); print('{{}}')",
    )
    refresh.refresh_from(home, "http://registry.example")
    assert json.loads(seen.read_text()) == [str(home.root), "http://registry.example"]


def test_what_the_registry_says_is_passed_on(home: Home, monkeypatch) -> None:
    child(monkeypatch, "import json; print(json.dumps({'error': 'it is away', 'hint': 'wait'}))")
    with pytest.raises(RegistryError, match="it is away") as caught:
        refresh.refresh_from(home, "http://registry.example")
    assert caught.value.hint == "wait"


def test_a_child_that_breaks_is_an_error_with_its_last_words(home: Home, monkeypatch) -> None:
    child(monkeypatch, "raise SystemExit('no such library')")
    with pytest.raises(RegistryError, match="no such library"):
        refresh.refresh_from(home, "http://registry.example")


def test_a_child_that_hangs_is_given_up(home: Home, monkeypatch) -> None:
    child(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(RegistryError, match=r"within 0\.2 s"):
        refresh.refresh_from(home, "http://registry.example", patience=0.2)


def test_an_empty_registry_has_no_champion(home: Home) -> None:
    with pytest.raises(RegistryError, match="no model"):
        refresh.refresh_from(home, f"sqlite:///{home.mlflow_database.absolute()}")
