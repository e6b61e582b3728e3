"""CDS Hooks: discovery, the card, what a card says for lack of data, malformed requests."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrisk.home import Home
from fedrisk.serving.app import create_app
from fedrisk.serving.challenger import TrialRules

from .conftest import (
    MAPPING,
    MARKER,
    PATIENT,
    PM,
    ROW,
    WARD,
    TestClient,
    bundle,
    challenge,
    observed,
)

PATH = "/cds-services/clinic"
PREFETCH = {
    "patient": PATIENT,
    "observation_pm2.5": bundle([PM]),
    "observation_marker": bundle([MARKER]),
    "observation_ward": WARD,
}
REQUEST = {
    "hook": "patient-view",
    "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
    "context": {"userId": "Practitioner/1", "patientId": "p1"},
    "prefetch": PREFETCH,
}


def post(client: Any, document: object, path: str = PATH) -> Any:
    kind = {"content-type": "application/json"}
    return client.post(path, content=json.dumps(document), headers=kind)


def card(answer: Any) -> dict[str, Any]:
    """The one card of an answer, its shape checked."""
    assert answer.status_code == 200
    (made,) = answer.json()["cards"]
    assert 0 < len(made["summary"]) < 140
    assert made["indicator"] in ("info", "warning", "critical")
    assert made["source"]["label"]
    assert made["links"] == [
        {"label": "About this model", "url": "https://risk.example/about", "type": "absolute"}
    ]
    return made


def test_discovery_tells_the_hook_and_what_to_send(client) -> None:
    (service,) = client.get("/cds-services").json()["services"]
    assert (service["hook"], service["id"]) == ("patient-view", "clinic")
    assert service["title"]
    assert service["description"]
    assert service["prefetch"] == {
        "patient": "Patient/{{context.patientId}}",
        "observation_pm2.5": "Observation?patient={{context.patientId}}"
        "&code=http://loinc.org|0000-1&_sort=-date&_count=1",
        "observation_marker": "Observation?patient={{context.patientId}}"
        "&code=http://loinc.org|0000-2,http://loinc.org|0000-3&_sort=-date&_count=1",
        "observation_ward": "Observation?patient={{context.patientId}}"
        "&code=http://loinc.org|0000-4&_sort=-date&_count=1",
    }


def test_without_a_model_there_is_no_service(home: Home) -> None:
    with TestClient(create_app(home, watch_seconds=3600)) as client:
        assert client.get("/cds-services").json() == {"services": []}
        assert post(client, REQUEST).status_code == 503


def test_the_card_has_risk_level_and_drivers(client) -> None:
    expected = client.post("/predict?explain=true", json=ROW).json()
    made = card(post(client, REQUEST))
    assert f"{expected['risk_score']:.1%} (medium)" in made["summary"]
    assert made["indicator"] == "warning"
    strongest = max(expected["contributions"].items(), key=lambda part: abs(part[1]))
    first = next(line for line in made["detail"].splitlines() if line.startswith("- "))
    assert first.startswith(f"- {strongest[0]} ")
    assert f"{strongest[1]:+.2f}" in first
    assert "version 1" in made["source"]["label"]


@pytest.mark.parametrize(
    ("marker", "birth", "indicator"),
    [(-15, "1990-01-01", "info"), (-1.25, "1952-05-01", "warning"), (9, "1940", "critical")],
)
def test_the_indicator_follows_the_band(client, marker: float, birth: str, indicator: str) -> None:
    changed = {
        **PREFETCH,
        "patient": PATIENT | {"birthDate": birth},
        "observation_marker": observed("0000-3", {"value": marker}),
    }
    made = card(post(client, REQUEST | {"prefetch": changed}))
    assert made["indicator"] == indicator


@pytest.mark.parametrize("prefetch", [None, {}, {"patient": None}])
def test_nothing_prefetched_is_an_info_card(client, prefetch: dict | None) -> None:
    made = card(post(client, REQUEST | {"prefetch": prefetch}))
    assert made["indicator"] == "info"
    assert "- patient" in made["detail"]


def test_what_is_missing_or_unusable_is_on_an_info_card(client) -> None:
    wrong = {
        "patient": PATIENT,
        "observation_marker": observed("0000-2", {"value": 1, "code": "x"}),
    }
    made = card(post(client, REQUEST | {"prefetch": wrong | {"observation_ward": None}}))
    assert made["indicator"] == "info"
    assert "No risk for lack of data" in made["summary"]
    lines = [line for line in made["detail"].splitlines() if line.startswith("- ")]
    assert [line.split(":")[0] for line in lines] == ["- marker", "- ward"]


def test_the_link_is_the_documentation_where_none_is_named(home: Home, stored) -> None:
    with TestClient(create_app(home, watch_seconds=3600)) as client:
        (made,) = post(client, REQUEST | {"prefetch": None}).json()["cards"]
    assert made["links"][0]["url"] == "http://testserver/docs"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hook": "order-sign"}, "hook"),
        ({"hookInstance": None}, "hookInstance"),
        ({"context": {"userId": "Practitioner/1"}}, "context.patientId"),
        ({"context": []}, "context"),
        ({"prefetch": [1]}, "prefetch"),
        ({"prefetch": {"patient": {"resourceType": 3}}}, "prefetch.patient"),
        ({"prefetch": {"patient": "secretive"}}, "prefetch.patient"),
        ({"context": {"patientId": "p2"}}, "another Patient"),
        (
            {"prefetch": {**PREFETCH, "more": MARKER | {"subject": {"reference": "Patient/p2"}}}},
            "prefetch.more.subject",
        ),
    ],
)
def test_a_malformed_request_is_400(client, caplog, changes: dict, told: str) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = post(client, REQUEST | changes)
    assert answer.status_code == 400
    assert told in answer.json()["error"]
    assert "secretive" not in answer.text + caplog.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"\xff", b'{"hook":' * 50_000])
def test_bodies_that_are_no_request(client, body: bytes) -> None:
    answer = client.post(PATH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_another_service_is_404_and_another_type_415(client) -> None:
    assert post(client, REQUEST, "/cds-services/other").status_code == 404
    answer = client.post(PATH, content=b"x", headers={"content-type": "text/plain"})
    assert answer.status_code == 415


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["resourceType", "entry", "resource", "patient"]), inner)
    ),
    max_leaves=8,
)


@given(field=st.sampled_from(list(REQUEST)), value=JSON)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
def test_no_request_makes_the_server_fail(client, field: str, value: Any) -> None:
    assert post(client, REQUEST | {field: value}).status_code in (200, 400)


def test_a_card_is_counted(client) -> None:
    post(client, REQUEST)
    text = client.get("/metrics").text
    assert 'predictions_total{endpoint="/cds-services",level="medium",version="1"} 1.0' in text


@pytest.mark.parametrize(("share", "version"), [(1.0, "2"), (0.0, "1")])
def test_a_card_names_the_version_that_answered(
    home: Home, stored: Any, share: float, version: str
) -> None:
    home.fhir.write_text(MAPPING)
    challenge(home)
    app = create_app(home, trial_rules=TrialRules(share, shadow=True), watch_seconds=3600)
    with TestClient(app) as client:
        assert card(post(client, REQUEST))["source"]["label"].endswith(f"version {version}")
