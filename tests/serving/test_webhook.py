"""Only what MLflow has just signed wakes the follower, and once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrisk.errors import UsageError
from fedrisk.home import Home
from fedrisk.serving.app import create_app
from fedrisk.serving.webhook import FRESH_SECONDS, PATH, MlflowWebhook, read_secret, signature

from .conftest import TestClient

SECRET = "an example of a shared secret"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BODY = '{"entity": "model_version_alias", "action": "created", "data": {"name": "h\\u00e9"}}'


class Clock:
    time = NOON

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(home: Home, clock: Clock):
    webhook = MlflowWebhook(SECRET.encode(), home.follower_wake, clock)
    with TestClient(create_app(home, webhook=webhook, watch_seconds=3600)) as client:
        yield client


def headers(
    name: str = "delivery-1", at: datetime = NOON, body: str = BODY, secret: str = SECRET
) -> dict[str, str]:
    from mlflow.webhooks.delivery import _generate_hmac_signature

    stamp = str(int(at.timestamp()))
    return {
        "Content-Type": "application/json",
        "X-MLflow-Delivery-Id": name,
        "X-MLflow-Timestamp": stamp,
        "X-MLflow-Signature": _generate_hmac_signature(secret, name, stamp, body),
    }


def test_what_mlflow_signs_wakes_the_follower(client: TestClient, home: Home) -> None:
    answer = client.post(PATH, content=BODY, headers=headers())
    assert answer.status_code == 202
    first = home.follower_wake.read_bytes()
    assert client.post(PATH, content=BODY, headers=headers("delivery-2")).status_code == 202
    assert home.follower_wake.read_bytes() != first


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"X-MLflow-Signature": "v1,AAAA"}, "signature is not made"),
        ({"X-MLflow-Signature": "v2," + "A" * 44}, "signature is not made"),
        ({"X-MLflow-Signature": "é"}, "signature is not made"),
        ({"X-MLflow-Timestamp": "1772366401"}, "signature is not made"),
        ({"X-MLflow-Delivery-Id": "another"}, "signature is not made"),
        ({"X-MLflow-Delivery-Id": "a b"}, "carries"),
        ({"X-MLflow-Signature": None}, "carries"),
        ({"X-MLflow-Timestamp": None}, "carries"),
        ({"X-MLflow-Delivery-Id": None}, "carries"),
    ],
)
def test_what_is_not_signed_is_refused(client, home, changes, why) -> None:
    given = {**headers(), **changes}
    sent = [(k, v.encode("latin-1")) for k, v in given.items() if v is not None]
    answer = client.post(PATH, content=BODY, headers=sent)
    assert answer.status_code == 401
    assert why in answer.json()["error"]
    assert SECRET not in answer.text
    assert not home.follower_wake.exists()


def test_a_changed_body_and_another_secret_are_refused(client: TestClient, home: Home) -> None:
    assert client.post(PATH, content=BODY + " ", headers=headers()).status_code == 401
    other = headers(secret="another secret of some length")
    assert client.post(PATH, content=BODY, headers=other).status_code == 401
    assert not home.follower_wake.exists()


@pytest.mark.parametrize("seconds", [-FRESH_SECONDS - 1, FRESH_SECONDS + 1])
def test_an_old_or_early_delivery_is_refused(client, home, seconds) -> None:
    at = NOON + timedelta(seconds=seconds)
    assert client.post(PATH, content=BODY, headers=headers(at=at)).status_code == 401
    assert not home.follower_wake.exists()


def test_a_time_that_is_no_number_is_refused_even_when_signed(client: TestClient) -> None:
    made = signature(SECRET.encode(), b"d", b"noon", BODY.encode())
    given = {"X-MLflow-Delivery-Id": "d", "X-MLflow-Timestamp": "noon"}
    answer = client.post(
        PATH, content=BODY, headers={**given, "X-MLflow-Signature": f"v1,{made.decode()}"}
    )
    assert answer.status_code == 401


def test_a_replay_is_refused_for_as_long_as_its_time_is_fresh(
    client: TestClient, home: Home, clock: Clock
) -> None:
    early = headers(at=NOON + timedelta(seconds=FRESH_SECONDS))
    assert client.post(PATH, content=BODY, headers=early).status_code == 202
    home.follower_wake.unlink()
    for seconds in (0, FRESH_SECONDS, 2 * FRESH_SECONDS):
        clock.time = NOON + timedelta(seconds=seconds)
        assert client.post(PATH, content=BODY, headers=early).status_code == 409
    clock.time = NOON + timedelta(seconds=2 * FRESH_SECONDS + 1)
    assert client.post(PATH, content=BODY, headers=early).status_code == 401
    assert not home.follower_wake.exists()


def test_a_delivery_that_could_not_be_heard_may_come_again(home: Home, client) -> None:
    home.serving.write_text("in the way")
    assert client.post(PATH, content=BODY, headers=headers()).status_code == 503
    home.serving.unlink()
    assert client.post(PATH, content=BODY, headers=headers()).status_code == 202


def test_the_path_takes_posts_of_a_bounded_size_alone(client: TestClient) -> None:
    assert client.get(PATH).status_code == 405
    assert client.post(PATH, content=b" " * (1 << 20), headers=headers()).status_code == 413


def test_without_a_secret_the_path_does_not_exist(home: Home) -> None:
    with TestClient(create_app(home, watch_seconds=3600)) as client:
        assert client.post(PATH, content=BODY, headers=headers()).status_code == 404


def test_a_secret_comes_from_a_file_and_has_a_length(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert read_secret(file) == SECRET.encode()
    file.write_text("short\n")
    with pytest.raises(UsageError, match="no secret of at least 16"):
        read_secret(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_secret(tmp_path / "missing")
