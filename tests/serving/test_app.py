from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrisk.home import Home
from fedrisk.models.checks import columns_from_rows
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.app import create_app
from fedrisk.serving.predict import Limits

from .conftest import ROW, STUDY, TestClient

LIMITS = Limits(row_bytes=4096, batch_bytes=65_536, batch_rows=50)
CSV = {"content-type": "text/csv"}
NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture
def client(home: Home, stored: StoredModel) -> Iterator[TestClient]:
    with TestClient(create_app(home, limits=LIMITS, watch_seconds=3600)) as client:
        yield client


@pytest.fixture
def empty(home: Home) -> Iterator[TestClient]:
    with TestClient(create_app(home, watch_seconds=3600)) as client:
        yield client


def figure(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.rsplit(" ", 1)[1] for line in lines if line.startswith(name)))


def test_a_prediction_without_explanation(client: TestClient, stored: StoredModel) -> None:
    answer = client.post("/predict", json=ROW)
    assert answer.status_code == 200
    document = answer.json()
    risk = stored.model.risk(columns_from_rows(STUDY, [ROW]))[0]
    assert document.pop("request_id") == answer.headers["x-request-id"]
    assert document == {
        "risk_score": pytest.approx(risk, abs=1e-12),
        "risk_level": "medium",
        "warnings": [],
        "model": {"name": "clinic", "version": "1"},
    }


def test_an_explanation_is_given_when_asked_for(client: TestClient) -> None:
    document = client.post("/predict?explain=true", json=ROW).json()
    low, high = document["interval"]
    assert low < document["risk_score"] < high
    assert set(document["contributions"]) == set(STUDY.feature_names)
    assert "contributions" not in client.post("/predict?explain=false", json=ROW).json()
    assert client.post("/predict?explain=maybe", json=ROW).status_code == 400


def test_a_value_outside_its_bounds_is_told(client: TestClient) -> None:
    answer = client.post("/predict", json={**ROW, "age": 130})
    assert answer.status_code == 422
    assert answer.json()["detail"] == [
        {"field": "age", "value": 130, "rule": "must be between 0 and 120 year"}
    ]


def test_an_implausible_value_is_flagged_and_counted(client: TestClient) -> None:
    answer = client.post("/predict", json={**ROW, "age": 110})
    assert answer.status_code == 200
    assert [w["field"] for w in answer.json()["warnings"]] == ["age"]
    assert figure(client, 'prediction_implausible_values_total{feature="age"}') == 1


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"age": NaN, "marker": 1, "ward": "a"}', "application/json", 422),
        (b"[]", "application/json", 422),
        (b"[" * 4000, "application/json", 400),
        (orjson.dumps(ROW), "text/plain", 415),
        (b" " * 5000, "application/json", 413),
        (orjson.dumps(ROW), "application/json; charset=utf-8", 200),
    ],
)
def test_bodies_that_are_not_a_row(
    client: TestClient, body: bytes, content_type: str, status: int
) -> None:
    answer = client.post("/predict", content=body, headers={"content-type": content_type})
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]
        assert "Traceback" not in answer.text
        name = f'prediction_errors_total{{endpoint="/predict",status="{status}"}}'
        assert figure(client, name) == 1


def test_a_body_in_parts_is_limited_too(client: TestClient) -> None:
    parts = (b" " * 1000 for _ in range(10))
    answer = client.post("/predict", content=parts, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    parts = (bytes([byte]) for byte in orjson.dumps(ROW))
    answer = client.post("/predict", content=parts, headers={"content-type": "application/json"})
    assert answer.status_code == 200


@given(
    body=st.binary(max_size=300),
    path=st.sampled_from(["/predict", "/predict/batch"]),
    kind=st.sampled_from(["application/json", "text/csv", "application/x-ndjson", "a/b", ""]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_no_body_makes_the_server_fail(
    client: TestClient, body: bytes, path: str, kind: str
) -> None:
    answer = client.post(path, content=body, headers={"content-type": kind})
    assert answer.status_code in (400, 413, 415, 422)


@given(
    document=st.dictionaries(
        st.sampled_from([*ROW, "other"]), st.none() | st.floats() | st.text() | st.integers()
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_no_json_makes_the_server_fail(client: TestClient, document: dict) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/predict", content=json.dumps(document), headers=headers)
    assert answer.status_code in (200, 400, 422)


def test_batches_agree_with_single_predictions_in_every_format(client: TestClient) -> None:
    rows = [
        ROW,
        {**ROW, "age": 30.25, "pm2.5": None, "sex": None},
        {**ROW, "ward": "b", "marker": 1e-3},
    ]
    single = [client.post("/predict", json=row).json() for row in rows]
    expected = [(answer["risk_score"], answer["risk_level"]) for answer in single]
    listed = client.post("/predict/batch", json=rows).json()
    wrapped = client.post("/predict/batch", json={"rows": rows}).json()
    assert listed["model"] == {"name": "clinic", "version": "1"}
    for answer in (listed, wrapped):
        assert_scores(answer["predictions"], expected)
    lines = b"\n".join(map(orjson.dumps, rows)) + b"\n"
    answer = client.post("/predict/batch", content=lines, headers=NDJSON)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert_scores([json.loads(line) for line in answer.text.splitlines()], expected)
    text = "ward,age,pm2.5,marker,sex\nc d,71.5,12,-1.25,male\n"
    text += "c d,30.25,NA,-1.25,\nb,71.5,12,.001,male\n"
    answer = client.post("/predict/batch", content=text, headers=CSV)
    header, *scored = answer.text.splitlines()
    assert header == "risk_score,risk_level,warnings"
    fields = [line.split(",") for line in scored]
    assert_scores([{"risk_score": float(f[0]), "risk_level": f[1]} for f in fields], expected)


def assert_scores(answers: list[dict], expected: list[tuple[float, str]]) -> None:
    assert [a["risk_level"] for a in answers] == [level for _, level in expected]
    assert [a["risk_score"] for a in answers] == pytest.approx([r for r, _ in expected], abs=1e-12)


def test_a_batch_is_explained_in_every_format(client: TestClient) -> None:
    single = client.post("/predict?explain=true", json=ROW).json()
    batch = client.post("/predict/batch?explain=true", json=[ROW]).json()["predictions"][0]
    assert batch["contributions"] == pytest.approx(single["contributions"])
    text = "age,pm2.5,marker,sex,ward\n71.5,12,-1.25,male,c d\n"
    answer = client.post("/predict/batch?explain=true", content=text, headers=CSV)
    names, values = (line.split(",") for line in answer.text.splitlines())
    fields = dict(zip(names, values, strict=True))
    assert float(fields["interval_low"]) == pytest.approx(single["interval"][0])
    age = single["contributions"]["age"]
    assert float(fields["contribution:age"]) == pytest.approx(age)


def test_errors_of_a_batch_name_the_row(client: TestClient) -> None:
    wrong = {"row": 2, "field": "age", "value": 300.0, "rule": "must be between 0 and 120 year"}
    rows = [ROW, {**ROW, "age": 300.0}]
    lines = b"\n".join(map(orjson.dumps, rows))
    text = "age,pm2.5,marker,sex,ward\n71,12,0,male,a\n300,12,0,male,a\n"
    for answer in (
        client.post("/predict/batch", json=rows),
        client.post("/predict/batch", content=lines, headers=NDJSON),
        client.post("/predict/batch", content=text, headers=CSV),
    ):
        assert answer.status_code == 422
        assert answer.json()["detail"] == [wrong]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 400),
        ("age,age\n1,2\n", 400),
        ("age,marker\n1\n", 400),
        ("age,pm2.5,marker,sex,ward\n", 400),
        ("age,marker,ward,colour\n50,1,a,red\n", 422),
        ("age,marker,ward\n50,much,a\n", 422),
        ("age,marker,ward\n50,inf,a\n", 422),
        ("age,marker,ward\n50,,a\n", 422),
        ("age,marker,ward\n50,1e999,a\n", 422),
        ('\ufeffage,marker,ward\r\n50,1e-9,"a"\r\n\r\n', 200),
    ],
)
def test_csv_that_is_odd(client: TestClient, text: str, status: int) -> None:
    answer = client.post("/predict/batch", content=text.encode(), headers=CSV)
    assert answer.status_code == status


def test_long_batches_are_refused(client: TestClient) -> None:
    assert client.post("/predict/batch", json=[ROW] * 51).status_code == 400
    assert client.post("/predict/batch", content=b" " * 70_000).status_code == 413


def test_health_needs_no_model_and_ready_does(empty: TestClient) -> None:
    assert empty.get("/health").status_code == 200
    answer = empty.get("/ready")
    assert answer.status_code == empty.head("/ready").status_code == 503
    assert "no model" in answer.json()["reason"]
    for answer in (empty.post("/predict", json=ROW), empty.get("/model")):
        assert answer.status_code == 503
        assert "no model" in answer.json()["error"]
    assert "No model serves" in empty.get("/").text
    assert empty.get("/openapi.json").status_code == 200


def test_probes_may_ask_by_head(client: TestClient) -> None:
    for path in ("/health", "/ready"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_ready_tells_which_model(client: TestClient, stored: StoredModel) -> None:
    answer = client.get("/ready")
    assert answer.status_code == 200
    assert answer.json()["model"] == {
        "name": "clinic",
        "version": "1",
        "run_id": "run1",
        "digest": stored.digest,
    }
    assert answer.json()["refused"] is None


def test_the_model_is_described(client: TestClient) -> None:
    document = client.get("/model").json()
    assert document["version"] == "1"
    assert document["study"]["bands"] == {"medium": 0.3, "high": 0.6}
    assert document["study"]["features"][0]["unit"] == "year"
    assert document["metrics"] == {"auroc": 0.8}
    assert document["created"] == "2024-02-29T12:00:00+00:00"


def test_openapi_shows_features_with_units_and_bounds(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert row["properties"]["age"]["maximum"] == 120
    assert row["properties"]["age"]["x-unit"] == "year"
    assert row["required"] == ["age", "marker", "ward"]
    assert set(document["paths"]) >= {"/predict", "/predict/batch", "/health", "/ready"}
    assert client.post("/predict", json=row["examples"][0]).status_code == 200
    assert client.get("/docs").status_code == 200


def test_the_front_page_has_a_command_that_names_this_server(client: TestClient) -> None:
    text = client.get("/").text
    assert "http://testserver/predict" in text
    assert "must be between 0 and 120 year" in text


@pytest.mark.parametrize(
    ("given_id", "kept"), [("abc-1.2:3", True), ("a b", False), ("x" * 129, False)]
)
def test_a_sane_request_id_is_kept(client: TestClient, given_id: str, kept: bool) -> None:
    answer = client.post("/predict", json=ROW, headers={"x-request-id": given_id})
    assert (answer.json()["request_id"] == given_id) is kept
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_unknown_paths_and_methods_are_answered_as_json(client: TestClient) -> None:
    missing, wrong = client.get("/secret"), client.get("/predict")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert wrong.headers["allow"] == "POST"
    for answer in (missing, wrong):
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    assert figure(client, 'prediction_errors_total{endpoint="other",status="404"}') == 1


def test_predictions_are_counted(client: TestClient) -> None:
    client.post("/predict", json=ROW)
    client.post("/predict/batch", json=[ROW, ROW])
    labels = 'level="medium",version="1"}'
    assert figure(client, f'predictions_total{{endpoint="/predict",{labels}') == 1
    assert figure(client, f'predictions_total{{endpoint="/predict/batch",{labels}') == 2
    assert figure(client, 'prediction_latency_seconds_count{endpoint="/predict"}') == 1
    assert figure(client, "model_info{") == 1


def test_an_unforeseen_error_is_answered_without_its_text(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> float:
        raise ZeroDivisionError("secret value 71.5")

    monkeypatch.setattr("fedrisk.serving.scoring.Scorer.risk", fail)
    with caplog.at_level(logging.DEBUG):
        answer = client.post("/predict", json=ROW)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "ZeroDivisionError" in caplog.text
    assert "71.5" not in caplog.text


def test_no_feature_value_is_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="fedrisk"):
        client.post("/predict", json={**ROW, "age": 117.125})
        client.post("/predict", json={**ROW, "age": 917.125})
    assert "17.125" not in caplog.text


def test_the_serving_process_stays_light(home: Home, stored: StoredModel) -> None:
    program = (
        "import sys; from pathlib import Path; from fedrisk.home import Home\n"
        "from fedrisk.serving.app import create_app; import fedrisk.cli.serve\n"
        "from fedrisk.serving.champion import Champion\n"
        "home = Home(Path(sys.argv[1])); create_app(home).openapi()\n"
        "assert Champion(home.champion).refresh()\n"
        "heavy = {'flwr', 'mlflow', 'pandas', 'evidently', 'sklearn', 'pyarrow', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(home.root)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_figures_of_a_server_with_a_model(client: TestClient) -> None:
    assert figure(client, "service_ready") == 1
    assert figure(client, "model_created_timestamp_seconds") == 1709208000


def test_figures_of_a_server_without_a_model(empty: TestClient) -> None:
    assert figure(empty, "service_ready") == 0
    assert figure(empty, 'service_info{service="inference"') == 1
