"""RiskAssessment: its shape, what is read, and an OperationOutcome for everything else."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrisk.home import Home
from fedrisk.models.checks import columns_from_rows
from fedrisk.serving.access import Guard
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.app import create_app
from fedrisk.serving.challenger import TrialRules

from .conftest import (
    ALL,
    MAPPING,
    MARKER,
    NOW,
    PATIENT,
    PM,
    ROW,
    WARD,
    TestClient,
    bundle,
    challenge,
    observed,
)

PATH = "/fhir/RiskAssessment"
FHIR = {"content-type": "application/fhir+json"}
CHECKED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)


def post(client: Any, document: object, **headers: str) -> Any:
    return client.post(PATH, content=json.dumps(document), headers=FHIR | headers)


def outcome(answer: Any, status: int) -> list[str]:
    """Issues of an OperationOutcome as `code diagnostics`."""
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/fhir+json")
    document = answer.json()
    assert document["resourceType"] == "OperationOutcome"
    assert document["issue"]
    assert all(issue["severity"] == "error" for issue in document["issue"])
    return [f"{issue['code']} {issue['diagnostics']}" for issue in document["issue"]]


def risk(client: Any, row: dict) -> dict:
    return client.post("/predict?explain=true", json=row).json()


def test_a_bundle_is_assessed(client) -> None:
    answer = post(client, bundle(ALL))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/fhir+json")
    document = answer.json()
    expected = risk(client, ROW)
    assert document["resourceType"] == "RiskAssessment"
    assert document["status"] == "final"
    assert document["subject"] == {"reference": "Patient/p1"}
    assert document["occurrenceDateTime"] == "2024-03-01T12:00:00+00:00"
    assert "clinic, version 1" in document["method"]["text"]
    assert "version 1" in document["note"][0]["text"]
    references = [each["reference"] for each in document["basis"]]
    assert references == ["Observation/o0000-1", "Observation/o0000-3", "Observation/o0000-4"]
    (prediction,) = document["prediction"]
    assert prediction["probabilityDecimal"] == pytest.approx(expected["risk_score"], abs=1e-12)
    assert prediction["qualitativeRisk"]["text"] == expected["risk_level"] == "medium"
    codes = [coding["code"] for coding in prediction["qualitativeRisk"]["coding"]]
    assert codes == ["moderate", "medium"]
    assert f"{expected['risk_score']:.1%}" in prediction["rationale"]


def test_contributions_and_interval_are_extensions(client) -> None:
    extensions = post(client, bundle(ALL)).json()["prediction"][0]["extension"]
    expected = risk(client, ROW)
    (interval,) = [e for e in extensions if e["url"] == "urn:fedrisk:interval"]
    low, high = (interval["valueRange"][end]["value"] for end in ("low", "high"))
    assert [low, high] == pytest.approx(expected["interval"])
    parts = {
        e["extension"][0]["valueString"]: e["extension"][1]["valueDecimal"]
        for e in extensions
        if e["url"] == "urn:fedrisk:contribution"
    }
    assert parts.pop("(intercept)") == pytest.approx(expected["intercept"])
    assert parts == pytest.approx(expected["contributions"])


def test_parameters_and_a_bundle_within_say_the_same(client) -> None:
    flat = {"resourceType": "Parameters", "parameter": [{"name": "r", "resource": r} for r in ALL]}
    nested = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "patient", "resource": PATIENT},
            {"name": "observations", "resource": bundle(ALL[1:])},
        ],
    }
    expected = post(client, bundle(ALL)).json()["prediction"]
    assert post(client, flat).json()["prediction"] == expected
    assert post(client, nested).json()["prediction"] == expected


def test_percent_on_request_of_the_operator(home: Home, stored) -> None:
    local = [
        observed("marker", {"value": -1.25}) | {"code": code("marker")},
        observed("ward", valueString="c d") | {"code": code("ward")},
        observed("pm2.5", {"value": 12, "code": "ug/m3"}) | {"code": code("pm2.5")},
    ]
    home.fhir.write_text('probability = "percent"')
    clock = lambda: datetime(2024, 3, 1, tzinfo=UTC)  # noqa: E731
    with TestClient(create_app(home, clock=clock, watch_seconds=3600)) as client:
        prediction = post(client, bundle([PATIENT, *local])).json()["prediction"][0]
        expected = risk(client, ROW)["risk_score"]
    assert prediction["probabilityDecimal"] == pytest.approx(100 * expected, abs=1e-9)


def code(name: str) -> dict:
    return {"coding": [{"system": "urn:fedrisk:feature", "code": name}]}


def test_what_is_missing_is_named_each(client) -> None:
    issues = outcome(post(client, bundle([{"resourceType": "Patient", "id": "p1"}])), 422)
    assert len(issues) == 3
    assert issues[0].startswith("required age: must not be missing: Patient.birthDate")
    assert issues[1].startswith("required marker: must not be missing: an Observation with code")
    assert "http://loinc.org|0000-2 or http://loinc.org|0000-3" in issues[1]
    assert issues[2].startswith("required ward")


def test_what_may_be_missing_is(client) -> None:
    patient = {"resourceType": "Patient", "id": "p1", "birthDate": "1952", "gender": "other"}
    prediction = post(client, bundle([patient, MARKER, WARD])).json()["prediction"][0]
    expected = risk(client, {**ROW, "sex": None, "pm2.5": None})
    assert prediction["probabilityDecimal"] == pytest.approx(expected["risk_score"])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (observed("0000-1", {"value": 1, "code": "kg"}), "must have the unit ug/m3, mg/m3"),
        (observed("0000-1", {"value": 1}), "and has none"),
        (observed("0000-1", {"value": -1, "code": "ug/m3"}), "must be at least 0"),
        (observed("0000-1", {"value": 1, "code": "ug/m3", "comparator": "<"}), "comparator"),
        (observed("0000-1", {"value": 1e308, "code": "mg/m3"}), "must be finite"),
        (observed("0000-1", valueString="much"), "must be a valueQuantity"),
        (observed("0000-4", valueString="z"), "must be one of"),
        (observed("0000-4", {"value": 1}), "must be one of"),
    ],
)
def test_a_value_that_cannot_be_used_is_told(client, caplog, changed: dict, told: str) -> None:
    kept = [r for r in ALL if r.get("id") != changed["id"]]
    with caplog.at_level(logging.DEBUG):
        issues = outcome(post(client, bundle([*kept, changed])), 422)
    assert len(issues) == 1
    assert issues[0].startswith("value ")
    assert told in issues[0]
    if "unit" in told:
        assert "http://loinc.org|0000-1" in issues[0]
    assert "kg" not in caplog.text
    assert "much" not in caplog.text


@pytest.mark.parametrize(
    ("patient", "told"),
    [
        ({"birthDate": "yesterday"}, "value age"),
        ({"birthDate": "1800-01-01"}, "value age: must be between 0 and 120 year"),
        ({"birthDate": "2030-01-01"}, "value age: must be between 0 and 120 year"),
        ({"gender": "m"}, "value sex: must come from a gender"),
    ],
)
def test_a_patient_that_cannot_be_used_is_told(client, patient: dict, told: str) -> None:
    issues = outcome(post(client, bundle([PATIENT | patient, PM, MARKER, WARD])), 422)
    assert issues[0].startswith(told)


def test_the_latest_usable_observation_counts(client) -> None:
    def at(value: float, time: str, status: str = "final") -> dict:
        made = observed("0000-2", {"value": value}, effectiveDateTime=time)
        return made | {"id": time.replace(":", "."), "status": status}

    several = [
        at(1, "2024"),
        at(2.5, "2024-02-29T10:00:00+02:00"),
        at(3, "2024-02-29T07:59:00Z"),
        at(4, "2024-02-29T12:00:00Z", "entered-in-error"),
        observed("0000-2", {"code": "1"}, effectiveDateTime="2024-03-01"),
    ]
    document = post(client, bundle([PATIENT, PM, WARD, *several])).json()
    expected = risk(client, {**ROW, "marker": 2.5})["risk_score"]
    assert document["prediction"][0]["probabilityDecimal"] == pytest.approx(expected)
    assert {"reference": "Observation/2024-02-29T10.00.00+02.00"} in document["basis"]


def test_a_component_counts(client) -> None:
    component = {"code": MARKER["code"], "valueQuantity": {"value": -1.25}}
    panel = observed("9999-9", component=[component])
    document = post(client, bundle([PATIENT, PM, WARD, panel])).json()
    assert {"reference": "Observation/o9999-9"} in document["basis"]


def test_observations_of_somebody_else_are_refused(client) -> None:
    other = MARKER | {"subject": {"reference": "Patient/p2"}}
    (issue,) = outcome(post(client, bundle([PATIENT, PM, other, WARD])), 400)
    assert "entry[2].resource.subject" in issue
    full = MARKER | {"subject": {"reference": "https://ehr.example/Patient/p1/_history/3"}}
    assert post(client, bundle([PATIENT, PM, full, WARD])).status_code == 200
    outcome(post(client, bundle([PATIENT, PATIENT, *ALL[1:]])), 400)
    outcome(post(client, bundle(ALL[1:])), 400)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/fhir+json", 400),
        (b"", "application/fhir+json", 400),
        (b"[]", "application/json", 400),
        (b'{"resourceType": "Patient"}', "application/json", 400),
        (b'{"resourceType": "Bundle", "entry": {}}', "application/json", 400),
        (b'{"resourceType": "Bundle", "entry": [3]}', "application/json", 400),
        (b'{"a": NaN}', "application/json", 400),
        (b'{"a":' * 100_000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"<Bundle/>", "application/fhir+xml", 415),
        (b" " * (17 << 20), "application/json", 413),
    ],
)
def test_bodies_that_are_no_bundle(client, body: bytes, kind: str, status: int) -> None:
    answer = client.post(PATH, content=body, headers={"content-type": kind})
    outcome(answer, status)
    assert "Traceback" not in answer.text
    figures = client.get("/metrics").text
    assert f'prediction_errors_total{{endpoint="{PATH}",status="{status}"}}' in figures


def test_another_method_is_an_outcome_too(client) -> None:
    answer = client.get(PATH)
    outcome(answer, 405)
    assert answer.headers["allow"] == "POST"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["coding", "value", "reference", "code", "system", "unit"]), inner
        )
    ),
    max_leaves=8,
)
FIELDS = [
    *("id", "status", "subject", "code", "valueQuantity", "valueCodeableConcept", "component"),
    *("effectiveDateTime", "effectivePeriod", "issued", "birthDate", "gender", "resourceType"),
]


@given(
    place=st.integers(0, 3),
    changes=st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=3),
)
@CHECKED
def test_no_resource_makes_the_server_fail(client, place: int, changes: dict) -> None:
    resources = list(ALL)
    resources[place] = {**resources[place], **changes}
    answer = client.post(PATH, content=json.dumps(bundle(resources)), headers=FHIR)
    assert answer.status_code in (200, 400, 422)
    if answer.status_code != 200:
        outcome(answer, answer.status_code)


def test_an_assessment_is_counted(client) -> None:
    post(client, bundle(ALL))
    text = client.get("/metrics").text
    assert f'predictions_total{{endpoint="{PATH}",level="medium",version="1"}} 1.0' in text


def test_without_a_key_or_a_model_the_answer_is_an_outcome(home: Home) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    key, secret = make_key("one", ["predict"], now)
    write_keys(home.keys, KeyRing({key.id: key}))
    guard = Guard(home.keys, None, lambda: now)
    with TestClient(create_app(home, guard=guard, watch_seconds=3600)) as client:
        (issue,) = outcome(post(client, bundle(ALL)), 401)
        assert issue.startswith("login")
        outcome(post(client, bundle(ALL), authorization=f"Bearer {secret}"), 503)


@pytest.mark.parametrize(("share", "version"), [(1.0, "2"), (0.0, "1")])
def test_an_assessment_names_the_version_that_answered(
    home: Home, stored: Any, share: float, version: str
) -> None:
    """The challenger answers its share; risk, level, method and note are all its own."""
    home.fhir.write_text(MAPPING)
    challenger = challenge(home)
    rules = TrialRules(share=share, shadow=True)
    app = create_app(home, trial_rules=rules, clock=lambda: NOW, watch_seconds=3600)
    with TestClient(app) as client:
        document = post(client, bundle(ALL)).json()
        answering = {"1": stored, "2": challenger}[version]
        columns = columns_from_rows(answering.model.study, [ROW])
        assert document["prediction"][0]["probabilityDecimal"] == pytest.approx(
            float(answering.model.risk(columns)[0]), rel=1e-12
        )
        assert f"version {version}" in document["method"]["text"]
        assert document["method"]["coding"][0]["version"] == version
        assert f"version {version}, digest {answering.digest}" in document["note"][0]["text"]
