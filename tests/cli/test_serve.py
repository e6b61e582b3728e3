from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from running import running, wait_until

from fedrisk.cli import main
from fedrisk.home import Home
from fedrisk.profiles.store import WindowStore
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from tests.serving.conftest import ROW, store

LONG_AGO, FAR_AHEAD = datetime(2000, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)

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
    with running([*COMMAND, *options]) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with urllib.request.urlopen(f"{url}/ready", timeout=10) as answer:
            assert json.load(answer)["status"] == "ready"
        process.send_signal(number)
        assert process.wait(60) == 0


def test_told_to_end_it_says_so_answers_on_and_ends_well(home: Home, tmp_path: Path) -> None:
    row = json.dumps(ROW).encode()
    options = ["--home", str(home.root), "--port", "0", "--json"]
    settings = {"FEDRISK_DRAIN_SECONDS": "5", "FEDRISK_CAPTURE_LEAST": "1"}
    environment = {**os.environ, **settings}
    with running([*COMMAND, *options], env=environment) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        kind = {"Content-Type": "application/json"}
        predict = urllib.request.Request(f"{url}/predict", row, kind)
        with urllib.request.urlopen(predict, timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: status(f"{url}/ready") == 503, 4.5)
        with urllib.request.urlopen(predict, timeout=10) as answer:
            assert answer.status == 200
        assert process.wait(60) == 0
    (window,) = WindowStore(f"sqlite:///{home.state}").between("clinic", LONG_AGO, FAR_AHEAD)
    assert window.profile.rows == 2


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_with_keys_it_serves_beyond_loopback_and_admits_nobody_without(home: Home) -> None:
    key, secret = make_key("app", ["predict"], datetime.now(UTC))
    write_keys(home.keys, KeyRing({key.id: key}))
    options = ["--home", str(home.root), "--host", "0.0.0.0", "--port", "0", "--json"]
    with running([*COMMAND, *options]) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["url"].rpartition(":")[2]
        head = {"Content-Type": "application/json"}
        url, row = f"http://127.0.0.1:{port}/predict", json.dumps(ROW).encode()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(url, row, head), timeout=10)
        head["Authorization"] = f"Bearer {secret}"
        with urllib.request.urlopen(urllib.request.Request(url, row, head), timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_damaged_file_of_keys_is_no_open_door(home: Home, capsys) -> None:
    home.keys.write_text("{")
    code, err = refused(capsys, "--home", home.root, "--port", 0)
    assert code == 5
    assert "holds no API keys" in err


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
    assert "nobody needs a key" in err
    assert "hint" in err


def test_a_missing_home_is_an_error(tmp_path: Path, capsys) -> None:
    code, err = refused(capsys, "--home", tmp_path / "none", "--port", 0)
    assert code == 5
    assert "not a fedrisk home" in err


#: The server, where what its image lacks cannot be imported.
LEAN = """
import sys
for name in ("mlflow", "flwr", "pandas", "evidently", "scipy", "apprise", "cronsim", "sklearn"):
    sys.modules[name] = None
from fedrisk.cli import main
main()
"""


def test_told_to_wait_it_makes_the_home_and_serves_the_first_model_without_mlflow(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "volume")
    keys = tmp_path / "secrets" / "api-keys"
    key, secret = make_key("app", ["predict", "admin"], datetime.now(UTC))
    write_keys(keys, KeyRing({key.id: key}))
    options = ["serve", "--home", str(home.root), "--wait", "--host", "0.0.0.0", "--port", "0"]
    told = {**os.environ, "FEDRISK_KEYS": str(keys)}
    with running([sys.executable, "-c", LEAN, *options, "--json"], env=told) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["url"].rpartition(":")[2]
        url = f"http://127.0.0.1:{port}"
        assert status(f"{url}/health") == 200
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}/ready", timeout=10)
        with caught.value as answer:
            assert answer.code == 503
            assert b"no model in" in answer.read()
        store(home.prepare())
        assert wait_until(lambda: status(f"{url}/ready") == 200, 60)
        head = {"Content-Type": "application/json"}
        row = json.dumps(ROW).encode()
        assert status_of(f"{url}/predict", row, head) == 401
        head["Authorization"] = f"Bearer {secret}"
        assert status_of(f"{url}/predict", row, head) == 200
        assert status_of(f"{url}/retrainings", None, head) == 200
        # A secret that is mounted anew counts without a restart.
        write_keys(keys, KeyRing({}))
        assert wait_until(lambda: status_of(f"{url}/predict", row, head) == 401, 20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not home.keys.exists()


def status_of(url: str, body: bytes | None, head: dict[str, str]) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, head), timeout=10) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_keys_that_are_named_and_not_there_are_no_open_door(
    home: Home, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("FEDRISK_KEYS", str(tmp_path / "none"))
    code, err = refused(capsys, "--home", home.root, "--port", 0)
    assert code == 5
    assert "FEDRISK_KEYS names" in err


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


def test_a_pinned_version_follows_nothing(home: Home, capsys) -> None:
    code, err = refused(capsys, "--home", home.root, "--version", "2", "--follow", "1")
    assert (code, "take one of them" in err) == (2, True)
    code, err = refused(capsys, "--home", home.root, "--version", "../2")
    assert (code, "is no version" in err) == (2, True)
