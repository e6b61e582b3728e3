"""The registry's champion reaches a serving process that never imports MLflow."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator

import pytest

from fedrisk.errors import RegistryError
from fedrisk.home import Home
from fedrisk.serving import refresh


@pytest.fixture
def registry() -> Iterator[str]:
    """An address where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def child(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let another program stand for the child process."""
    run = refresh.subprocess.run

    def other(command: list[str], **options: object) -> object:
        assert command[1:3] == ["-m", "fedrisk.serving.refresh"]
        return run([sys.executable, "-c", program, *command[3:]], **options)

    monkeypatch.setattr(refresh.subprocess, "run", other)


def test_the_child_is_told_home_and_registry(
    home: Home, registry: str, monkeypatch, tmp_path
) -> None:
    seen = tmp_path / "seen"
    child(
        monkeypatch,
        "import json, os, sys; from pathlib import Path\n"
        f"told = [sys.argv[1], os.environ['FEDRISK_TRACKING_URI']]\n"
        f"Path({str(seen)!r}).write_text(json.dumps(told)); print('noise'); print('{{}}')",
    )
    refresh.refresh_from(home, registry)
    assert json.loads(seen.read_text()) == [str(home.root), registry]


def test_what_the_registry_says_is_passed_on(home: Home, registry: str, monkeypatch) -> None:
    child(monkeypatch, "import json; print(json.dumps({'error': 'it is away', 'hint': 'wait'}))")
    with pytest.raises(RegistryError, match="it is away") as caught:
        refresh.refresh_from(home, registry)
    assert caught.value.hint == "wait"


def test_a_child_that_breaks_is_an_error_with_its_last_words(
    home: Home, registry: str, monkeypatch
) -> None:
    child(monkeypatch, "raise SystemExit('no such library')")
    with pytest.raises(RegistryError, match="no such library"):
        refresh.refresh_from(home, registry)


def test_a_child_that_hangs_is_given_up(home: Home, registry: str, monkeypatch) -> None:
    child(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(RegistryError, match=r"within 0\.2 s"):
        refresh.refresh_from(home, registry, patience=0.2)


def test_an_empty_registry_has_no_champion(home: Home) -> None:
    with pytest.raises(RegistryError, match="no model"):
        refresh.refresh_from(home, f"sqlite:///{home.mlflow_database.absolute()}")


def test_a_server_that_is_away_is_given_up_before_anything_is_loaded(
    home: Home, monkeypatch
) -> None:
    child(monkeypatch, "raise SystemExit('was started')")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(RegistryError, match=f"127.0.0.1 port {port} took no connection") as caught:
        refresh.refresh_from(home, f"http://user:secret@127.0.0.1:{port}/", away=0.1)
    assert "refused" in caught.value.message
    assert "secret" not in caught.value.message


def test_a_server_that_comes_up_is_waited_for(home: Home, monkeypatch) -> None:
    child(monkeypatch, "print('{}')")
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    server.close()
    pauses = []

    def come_up(_seconds: float) -> None:
        if not pauses:  # waiting for the child pauses, too
            pauses.append(socket.create_server(address))

    monkeypatch.setattr(refresh.time, "sleep", come_up)
    refresh.refresh_from(home, f"http://127.0.0.1:{address[1]}", away=60)
    assert len(pauses) == 1
    pauses[0].close()


def test_behind_a_proxy_nobody_but_the_proxy_is_asked(home: Home, monkeypatch) -> None:
    child(monkeypatch, "print('{}')")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    refresh.refresh_from(home, "http://registry.invalid", away=0.1)
