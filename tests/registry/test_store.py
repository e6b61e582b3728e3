"""Opening the store: several processes at once, servers that are away, and silence."""

from __future__ import annotations

import http.server
import logging
import os
import socket
import subprocess
import sys
import threading

import pytest

from fedrisk import home as locks
from fedrisk.errors import ModelNotFoundError, RegistryError
from fedrisk.home import Home
from fedrisk.registry.store import experiment_id, open_store, prepare_mlflow, public
from fedrisk.settings import Settings

SETTINGS = Settings(tracking_uri=None, registry_name="")
PROCESSES = 4
OPEN = """
import sys
from pathlib import Path
from fedrisk.home import Home
from fedrisk.registry.store import experiment_id, open_store
from fedrisk.settings import Settings
import mlflow.store.tracking.sqlalchemy_store
print("ready", flush=True)
sys.stdin.readline()
store = open_store(Home(Path(sys.argv[1])), Settings(tracking_uri=None))
with store.writing():
    print(experiment_id(store, "heart"))
"""


@pytest.mark.slow
def test_several_processes_open_a_fresh_store_at_once(tmp_path):
    home = Home(tmp_path / "home").prepare()
    command = [sys.executable, "-c", OPEN, str(home.root)]
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(PROCESSES)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * PROCESSES, answers
    assert len({out for out, _ in answers}) == 1
    assert {error for _, error in answers} == {""}


def test_odd_paths_are_no_trouble(tmp_path):
    home = Home(tmp_path / "my home 50% übung").prepare()
    store = open_store(home, SETTINGS)
    with store.writing():
        found = store.client.get_experiment(experiment_id(store, "heart"))
    assert home.mlflow_database.is_file()
    assert found.artifact_location.startswith(home.mlflow_artifacts.as_uri())


def test_relative_homes_are_no_trouble(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = Home(tmp_path.relative_to(tmp_path) / "home").prepare()
    store = open_store(home, SETTINGS)
    assert store.uri == f"sqlite:///{tmp_path}/home/mlflow/mlflow.db"


def test_the_process_wide_address_stays_alone(tmp_path):
    import mlflow

    before = mlflow.get_tracking_uri()
    open_store(Home(tmp_path / "home").prepare(), SETTINGS)
    assert mlflow.get_tracking_uri() == before


def test_a_deleted_experiment_is_said_to_be_deleted(tmp_path):
    store = open_store(Home(tmp_path / "home").prepare(), SETTINGS)
    with store.writing():
        store.client.delete_experiment(experiment_id(store, "heart"))
        with pytest.raises(RegistryError, match="was deleted"):
            experiment_id(store, "heart")


def test_a_damaged_database_is_named(tmp_path):
    home = Home(tmp_path / "home").prepare()
    home.mlflow_database.parent.mkdir()
    home.mlflow_database.write_bytes(b"not a database" * 100)
    with pytest.raises(RegistryError, match=r"mlflow\.db"):
        open_store(home, SETTINGS)


def test_what_is_not_there_is_not_found(tmp_path):
    store = open_store(Home(tmp_path / "home").prepare(), SETTINGS)
    with pytest.raises(ModelNotFoundError, match="nothing"), store.errors():
        store.client.get_registered_model("nothing")


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


def test_a_server_that_is_away_is_named(tmp_path, impatient):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        uri = f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RegistryError, match=r"127\.0\.0\.1") as caught:
            open_store(Home(tmp_path / "home").prepare(), Settings(tracking_uri=uri))
    assert "FEDRISK_TRACKING_URI" in caught.value.hint
    assert "secret" not in caught.value.message


def test_a_server_that_never_answers_is_given_up(tmp_path, impatient):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RegistryError):
            open_store(Home(tmp_path / "home").prepare(), Settings(tracking_uri=uri))


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>some other server</html>")

    do_POST = do_GET  # noqa: N815 the standard library's name

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_a_server_that_is_no_mlflow_is_refused(tmp_path, impatient):
    with http.server.HTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(RegistryError):
            open_store(Home(tmp_path / "home").prepare(), Settings(tracking_uri=uri))
        server.shutdown()


def test_patience_is_bounded_unless_the_operator_says_otherwise(monkeypatch):
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    prepare_mlflow()
    assert int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) <= 3
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"


def test_mlflow_is_silent_and_sends_nothing_home(monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "false")
    prepare_mlflow()
    from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
    from mlflow.telemetry import get_telemetry_client
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get() is True
    assert is_telemetry_disabled()
    assert get_telemetry_client() is None
    assert logging.getLogger("mlflow").level >= logging.ERROR


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:secret@host:5000/a", "http://host:5000/a"),
        ("http://host", "http://host"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
    ],
)
def test_passwords_are_not_shown(uri, shown):
    assert public(uri) == shown


def test_a_writer_that_does_not_go_on_is_not_waited_for_without_end(tmp_path, monkeypatch):
    home = Home(tmp_path / "home").prepare()
    store = open_store(home, SETTINGS)
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.1)
    with store.writing():
        with pytest.raises(RegistryError, match=r"mlflow\.db\.lock"), store.writing():
            raise AssertionError("two write")
        with pytest.raises(RegistryError, match=r"mlflow\.db\.lock"):
            open_store(home, SETTINGS)
