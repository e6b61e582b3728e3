"""The API behind keys: who is refused, how they are told, and what still answers everybody."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.access import Guard
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.access.rates import Rates
from fedrisk.serving.app import create_app
from fedrisk.serving.champion import now
from fedrisk.serving.jobs import JobRoom
from fedrisk.serving.process import start_server

from .access.issuing import AUDIENCE, issuing, published, signed
from .conftest import ROW, TestClient, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    made = {
        "predict": make_key("one", ["predict"], NOW),
        "batch": make_key("two", ["batch"], NOW),
        "metrics": make_key("four", ["metrics"], NOW),
        "admin": make_key("five", ["admin"], NOW),
        "slow": make_key("three", ["predict"], NOW, per_second=0.01, burst=2),
    }
    write_keys(tmp_path / "keys.json", KeyRing({key.id: key for key, _ in made.values()}))
    return {name: secret for name, (_, secret) in made.items()}


@pytest.fixture
def client(home: Home, stored: StoredModel, secrets, tmp_path: Path):
    with Rates(tmp_path / "rates", lambda: 1.0) as rates:
        guard = Guard(tmp_path / "keys.json", rates, lambda: NOW)
        jobs = JobRoom(home.jobs, f"sqlite:///{home.state}", now, "here", "here")
        with TestClient(create_app(home, guard=guard, jobs=jobs)) as made:
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
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert "verysecret" not in answer.text


def test_probes_answer_everybody(client: TestClient) -> None:
    for path in ("/health", "/ready"):
        assert client.get(path).status_code == 200


def test_figures_are_for_keys_that_are_for_figures(client: TestClient, secrets) -> None:
    assert client.get("/metrics").status_code == 401
    refused = client.get("/metrics", headers=bearer(secrets["predict"]))
    assert refused.status_code == 403
    assert refused.headers["www-authenticate"] == (
        'Bearer error="insufficient_scope", scope="metrics"'
    )
    answer = client.get("/metrics", headers=bearer(secrets["metrics"]))
    assert answer.status_code == 200
    assert "model_info" in answer.text


def test_the_model_is_for_whoever_has_a_key(client: TestClient, secrets) -> None:
    refused = client.get("/model")
    assert refused.status_code == 401
    assert "coefficients" not in refused.text
    for name in ("predict", "batch", "metrics"):
        assert client.get("/model", headers=bearer(secrets[name])).status_code == 200


#: What answers without a key: probes, how to ask, and what a client asks before it can ask.
OPEN = {
    "/", "/health", "/ready", "/docs", "/openapi.json", "/docs-static", "/cds-services", "/v2",
    "/v2/health/live", "/v2/health/ready", "/v2/models/{name}", "/v2/models/{name}/ready",
    "/v2/models/{name}/versions/{version}", "/v2/models/{name}/versions/{version}/ready",
}  # fmt: skip


def closed_routes(app) -> list[tuple[str, str]]:
    """Method and path of every route that is not open."""
    closed = [route for route in app.routes if route.path not in OPEN]
    return [
        (method, route.path)
        for route in closed
        for method in sorted(getattr(route, "methods", None) or {"GET", "POST"})
    ]


def test_every_route_that_is_not_listed_as_open_asks_for_a_key(client: TestClient) -> None:
    routes = closed_routes(client.app)
    listed = {"/predict", "/predict/batch", "/metrics", "/model", "/trial"}
    assert listed | {"/jobs", "/jobs/{id}", "/jobs/{id}/result"} <= {path for _, path in routes}
    for method, path in routes:
        place = re.sub(r"\{\w+(:\w+)?\}", "x", path)
        answer = client.request(method, place, content=b"{}")
        assert (answer.status_code, method, path) == (401, method, path)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_what_is_listed_as_open_is_there(client: TestClient) -> None:
    assert {route.path for route in client.app.routes} >= OPEN


def test_every_direct_path_is_a_route_too(client: TestClient) -> None:
    assert set(client.app.direct) <= {path for _, path in closed_routes(client.app)}


@pytest.mark.parametrize("path", ["/predict", "/fhir/RiskAssessment", "/cds-services/clinic"])
def test_single_predictions_are_not_for_other_keys(client: TestClient, secrets, path) -> None:
    for name in ("batch", "metrics", "admin"):
        assert client.post(path, json={}, headers=bearer(secrets[name])).status_code == 403


@pytest.mark.parametrize("path", ["/predict/batch", "/jobs", "/v2/models/clinic/infer"])
def test_many_predictions_are_not_for_other_keys(client: TestClient, secrets, path) -> None:
    for name in ("predict", "metrics", "admin"):
        assert client.post(path, json={}, headers=bearer(secrets[name])).status_code == 403


def test_a_real_server_takes_the_tokens_of_its_issuer(
    home: Home, stored: StoredModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with issuing() as issuer:
        for name, value in (("ISSUER", issuer.url), ("AUDIENCE", AUDIENCE)):
            monkeypatch.setenv(f"FEDRISK_OIDC_{name}", value)
        monkeypatch.setenv("FEDRISK_MOST_LAG", "60")
        server = start_server(home, "127.0.0.1", 0, tmp_path / "log")
        try:
            server.wait_ready()

            def asked(token: str) -> int:
                given = bearer(token)
                return httpx.post(f"{server.url}/predict", json=ROW, headers=given).status_code

            assert asked(signed(issuer.url)) == 200
            assert asked(signed(issuer.url, exp=int(time.time()) - 600)) == 401
            assert asked(signed(issuer.url, scope="metrics")) == 403
            assert asked(signed("https://other.example")) == 401
            unknown = signed(issuer.url, kid="new", number=1)
            assert asked(unknown) == 401
            issuer.keys.append(published("ES256", "new", 1))
            until(lambda: asked(signed(issuer.url, kid="new", number=1)) == 200, 60)
            issuer.away = True
            assert asked(signed(issuer.url)) == 200
        finally:
            assert server.stop() == 0
    assert "anna" not in (tmp_path / "log").read_text()
