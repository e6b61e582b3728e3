from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from fedrisk.cli import main
from fedrisk.home import Home
from tests.serving.conftest import store

COMMAND = [sys.executable, "-c", "from fedrisk.cli import main; main()", "serve"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home").prepare()
    store(home)
    return home


def refused(capsys, *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *map(str, arguments)])
    return int(ended.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_serves_and_ends_on_a_signal(home: Home, number: int) -> None:
    options = ["--home", str(home.root), "--port", "0", "--json"]
    with subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with urllib.request.urlopen(f"{url}/ready", timeout=10) as answer:
            assert json.load(answer)["status"] == "ready"
        process.send_signal(number)
        assert process.wait(20) == 0


def test_a_taken_port_ends_it_before_anything_heavy_is_loaded(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        program = (
            "import sys; from fedrisk.cli import main\n"
            "try: main(sys.argv[1:])\n"
            "finally: print('fastapi' in sys.modules, 'numpy' in sys.modules)"
        )
        port = str(taken.getsockname()[1])
        options = ["serve", "--home", str(home.root), "--port", port]
        done = subprocess.run(
            [sys.executable, "-c", program, *options], capture_output=True, text=True, check=False
        )
    assert done.returncode == 10
    assert done.stdout == "False False\n"
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_others_reach_is_refused(home: Home, capsys) -> None:
    code, err = refused(capsys, "--home", home.root, "--host", "0.0.0.0", "--port", 0)
    assert code == 2
    assert "no authentication" in err
    assert "hint" in err


def test_a_missing_home_is_an_error(tmp_path: Path, capsys) -> None:
    code, err = refused(capsys, "--home", tmp_path / "none", "--port", 0)
    assert code == 5
    assert "not a fedrisk home" in err


def test_a_registry_that_is_away_is_an_error_without_a_model_in_the_cache(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    from fedrisk.errors import RegistryError
    from fedrisk.serving import refresh, signals

    def away(home: Home, registry: str) -> None:
        raise RegistryError(f"{registry} is away")

    monkeypatch.setattr(signals, "end_well_on_signals", lambda: None)
    monkeypatch.setattr(refresh, "refresh_from", away)
    options = ("--home", tmp_path / "new", "--registry", "http://registry.example", "--port", 0)
    code, err = refused(capsys, *options)
    assert code == 8
    assert "http://registry.example is away" in err


def test_a_registry_that_is_away_is_a_warning_with_one(home: Home, capsys, monkeypatch) -> None:
    from fedrisk.errors import RegistryError
    from fedrisk.serving import refresh, server, signals

    def away(home: Home, registry: str) -> None:
        raise RegistryError("it is away")

    served = []
    monkeypatch.setattr(refresh, "refresh_from", away)
    monkeypatch.setattr(signals, "end_well_on_signals", lambda: None)
    monkeypatch.setattr(server, "run_server", lambda app, opened, *_, **__: served.append(opened))
    options = ("--home", home.root, "--registry", "http://registry.example", "--port", 0)
    code, err = refused(capsys, *options)
    assert code == 0
    assert "it is away; serving the champion of the cache" in err
    served[0].close()
