from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import running

from fedrisk.errors import ModelFileError, PortInUseError, UsageError
from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.process import ServerProcess, start_server

from .conftest import ROW, store, until


def ask(url: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


@pytest.fixture
def server(home: Home, stored: StoredModel, tmp_path: Path) -> Iterator[ServerProcess]:
    server = start_server(home, "127.0.0.1", 0, tmp_path / "logs" / "serve.log")
    yield server
    server.stop()


def test_a_started_server_becomes_ready_answers_and_stops(server, stored, home) -> None:
    assert server.wait_ready()["model"]["digest"] == stored.digest
    answer = ask(f"{server.url}/predict", ROW)
    assert answer["risk_level"] == "medium"
    store(home, "2", seed=2)
    until(lambda: ask(f"{server.url}/ready")["model"]["version"] == "2")
    assert server.stop() == 0
    assert server.stop() == 0
    assert "71.5" not in server.log.read_text()
    with pytest.raises(urllib.error.URLError):
        ask(f"{server.url}/health")


def test_sigterm_ends_the_server_with_success(server: ServerProcess) -> None:
    server.wait_ready()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0


def test_a_request_in_another_version_of_http_does_no_harm(server: ServerProcess) -> None:
    server.wait_ready()
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        raw.recv(100)
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("POST", "/predict", json.dumps(ROW), {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


def test_the_server_ends_when_its_parent_is_killed(home: Home, stored, tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from fedrisk.home import Home\n"
        "from fedrisk.serving.process import start_server\n"
        "s = start_server(Home(Path(sys.argv[1])), '127.0.0.1', 0, Path(sys.argv[2]))\n"
        "s.wait_ready(); print(s.process.pid, s.url, flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(home.root), str(tmp_path / "log")]
    with running(command) as parent:
        assert parent.stdout is not None
        process, url = parent.stdout.readline().split()
        assert ask(f"{url}/health") == {"status": "live"}
        parent.kill()
    until(lambda: not is_running(int(process)))


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def test_without_a_model_the_wait_ends_with_the_reason(home: Home, tmp_path: Path) -> None:
    server = start_server(home, "127.0.0.1", 0, tmp_path / "log")
    with pytest.raises(ModelFileError, match="no model in"):
        server.wait_ready(12)
    assert server.stop() == 0


def test_a_server_that_ends_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    server = start_server(Home(tmp_path / "none"), "127.0.0.1", 0, tmp_path / "log")
    with pytest.raises(ModelFileError, match="exit code 5"):
        server.wait_ready()
    server.stop()


def test_a_taken_port_and_an_open_address_are_refused(home: Home, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match="in use"):
            start_server(home, "127.0.0.1", port, tmp_path / "log")
    with pytest.raises(UsageError, match="loopback"):
        start_server(home, "0.0.0.0", 0, tmp_path / "log")
