"""The API behind keys: who is refused, how they are told, and what still answers everybody."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.access import Guard
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.access.rates import Rates
from fedrisk.serving.app import create_app

from .conftest import ROW, TestClient

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    made = {
        "predict": make_key("one", ["predict"], NOW),
        "batch": make_key("two", ["batch"], NOW),
        "slow": make_key("three", ["predict"], NOW, per_second=0.01, burst=2),
    }
    write_keys(tmp_path / "keys.json", KeyRing({key.id: key for key, _ in made.values()}))
    return {name: secret for name, (_, secret) in made.items()}


@pytest.fixture
def client(home: Home, stored: StoredModel, secrets, tmp_path: Path):
    with Rates(tmp_path / "rates", lambda: 1.0) as rates:
        guard = Guard(tmp_path / "keys.json", rates, lambda: NOW)
        with TestClient(create_app(home, guard=guard)) as made:
            yield made


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_without_a_key_401_and_how_to_prove_oneself(client: TestClient) -> None:
    for path, body in (("/predict", ROW), ("/predict/batch", [ROW])):
        answer = client.post(path, json=body)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "risk" not in answer.text


def test_a_key_opens_what_it_is_for(client: TestClient, secrets) -> None:
    assert client.post("/predict", json=ROW, headers=bearer(secrets["predict"])).status_code == 200
    refused = client.post("/predict/batch", json=[ROW], headers=bearer(secrets["predict"]))
    assert refused.status_code == 403
    assert "not for 'batch'" in refused.json()["error"]
    batch = client.post("/predict/batch", json=[ROW], headers=bearer(secrets["batch"]))
    assert batch.status_code == 200


def test_too_much_is_429_with_the_seconds_to_wait(client: TestClient, secrets) -> None:
    answers = [client.post("/predict", json=ROW, headers=bearer(secrets["slow"])) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) == 100


def test_a_wrong_secret_is_in_no_answer(client: TestClient) -> None:
    answer = client.post("/predict", json=ROW, headers=bearer("frk_aaaa_verysecret"))
    assert answer.status_code == 401
    assert "verysecret" not in answer.text


def test_probes_and_figures_answer_everybody(client: TestClient) -> None:
    for path in ("/health", "/ready", "/metrics"):
        assert client.get(path).status_code == 200
