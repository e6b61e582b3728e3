"""`models follow`, and a server beside it, with a real registry."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow_server import mlflow_server
from running import environment, processes_of, running, wait_until

from fedrisk.cli.main import cli
from fedrisk.home import Home
from fedrisk.registry.cache import read_model
from fedrisk.registry.follower_status import FollowerStatus, write_status
from fedrisk.registry.promotion import promote
from fedrisk.registry.record import record_training
from fedrisk.settings import Settings
from fedrisk.study import parse_study
from tests.cli.test_serve import COMMAND, LONG_AGO, status
from tests.registry.conftest import STUDY, fit

OWN = Settings(tracking_uri=None, registry_name="")
SECRET = "an example of a shared secret"
#: MLflow keeps webhooks' secrets encrypted, and refuses http and loopback unless told otherwise.
WEBHOOKS = {
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(bytes(32)).decode(),
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    # Otherwise it learns of a new webhook only after a minute.
    "MLFLOW_WEBHOOK_CACHE_TTL": "0",
}
#: Seconds between two looks of a follower that nobody wakes: longer than any test.
NEVER = "3600"


@pytest.fixture
def coordinator(tmp_path: Path) -> Home:
    """A home whose registry holds two versions, without an alias."""
    home = Home(tmp_path / "coordinator").prepare()
    for number in (1, 2):
        record_training(fit(parse_study(STUDY), number, f"run-{number}"), home, OWN)
    return home


def test_once_it_brings_what_the_aliases_say(tmp_path: Path, coordinator: Home) -> None:
    uri = f"sqlite:///{coordinator.mlflow_database.absolute()}"
    home = Home(tmp_path / "other")
    command = ["models", "follow", "--once", "--home", str(home.root), "--registry", uri, "--json"]
    promote(coordinator, OWN, "2", "", LONG_AGO)
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert json.loads(done.stdout) == {"champion": "2", "challenger": None, "changed": True}
    assert read_model(home.champion).version == "2"


def test_with_follow_the_server_takes_up_what_the_registry_promotes(
    tmp_path: Path, coordinator: Home
) -> None:
    uri = f"sqlite:///{coordinator.mlflow_database.absolute()}"
    home = tmp_path / "server"
    options = ["--home", str(home), "--registry", uri, "--follow", "0.2", "--port", "0", "--json"]
    with running([*COMMAND, *options]) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert status(f"{url}/ready") == 503
        promote(coordinator, OWN, "1", "", LONG_AGO)
        assert wait_until(lambda: serves(url) == "1", 90)
        (follower,) = [line for line in processes_of(home) if "models follow" in line]
        assert "--until-input-closes" in follower
        promote(coordinator, OWN, "2", "", LONG_AGO)
        assert wait_until(lambda: serves(url) == "2", 60)
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            assert b'registry_follower_state{state="following"} 1.0' in answer.read()
        process.kill()
    assert wait_until(lambda: not processes_of(home), 20)


def serves(url: str) -> str | None:
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=5) as answer:
            document = json.load(answer)
    except urllib.error.HTTPError:
        return None
    # The cache is renewed before the follower says so.
    following = document["registry"]["state"] == "following"
    return str(document["model"]["version"]) if following else None


def test_a_pinned_version_is_fetched_once_and_stays(tmp_path: Path, coordinator: Home) -> None:
    uri = f"sqlite:///{coordinator.mlflow_database.absolute()}"
    options = ["--home", str(tmp_path / "server"), "--version", "2", "--port", "0", "--json"]
    for registry in (uri, "http://127.0.0.1:1"):
        command = [*COMMAND, *options, "--registry", registry]
        with running(command) as process:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            with urllib.request.urlopen(f"{url}/ready", timeout=10) as answer:
                assert json.load(answer)["model"]["version"] == "2"
            process.terminate()
            assert process.wait(60) == 0


def test_alone_it_waits_for_a_registry_and_is_seen_to_live(tmp_path: Path) -> None:
    home = Home(tmp_path / "volume")
    asked = ["models", "follow", "--home", str(home.root)]
    none = CliRunner().invoke(cli, [*asked, "--check"])
    assert "nothing follows" in str(none.exception)
    registry = ["--registry", "http://127.0.0.1:9", "--every", "0.2"]
    away = environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    with running([*COMMAND[:-1], *asked, *registry], env=away) as process:

        def seen() -> bool:
            done = CliRunner().invoke(cli, [*asked, "--check", "--json"])
            return done.exit_code == 0 and json.loads(done.stdout)["state"] == "away"

        assert wait_until(seen, 90)
        process.terminate()
        assert process.wait(60) == 0
    assert not home.follower_status.exists()


def test_a_follower_that_hangs_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path).prepare()
    asked = ["models", "follow", "--home", str(home.root), "--check"]
    write_status(home.follower_status, FollowerStatus("following", LONG_AGO.isoformat()))
    assert "looked last" in str(CliRunner().invoke(cli, asked).exception)
    now = datetime.now(UTC).isoformat()
    write_status(home.follower_status, FollowerStatus("following", now))
    assert CliRunner().invoke(cli, asked).output.startswith("following, ")


@pytest.mark.slow
def test_a_promotion_reaches_the_server_by_mlflows_webhook(tmp_path: Path) -> None:
    """The follower would look again in an hour: what is served was told by the webhook."""
    from mlflow import MlflowClient
    from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    with mlflow_server(tmp_path, **WEBHOOKS) as registry:
        settings = Settings(tracking_uri=registry, registry_name="")
        home = Home(tmp_path / "coordinator").prepare()
        for number in (1, 2):
            record_training(fit(parse_study(STUDY), number, f"run-{number}"), home, settings)
        promote(home, settings, "1", "", LONG_AGO)
        options = ["--home", str(tmp_path / "server"), "--registry", registry, "--port", "0"]
        command = [*COMMAND, *options, "--follow", NEVER, "--json"]
        told = environment(FEDRISK_WEBHOOK_SECRET_FILE=str(secret))
        with running(command, env=told) as process:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            assert wait_until(lambda: serves(url) == "1", 90)
            created = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)
            MlflowClient(registry, registry).create_webhook(
                "fedrisk", f"{url}/webhooks/mlflow", [created], secret=SECRET
            )
            promote(home, settings, "2", "", LONG_AGO)
            assert wait_until(lambda: serves(url) == "2", 60)
            process.terminate()
            assert process.wait(40) == 0
