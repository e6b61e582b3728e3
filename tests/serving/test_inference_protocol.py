"""The Open Inference Protocol: shapes of answers, equality with /predict, and bad requests."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrisk.errors import UsageError
from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.access import Guard
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.app import create_app
from fedrisk.serving.capture import Capture, CaptureRules
from fedrisk.serving.inference_protocol import MOST_TENSORS, parse_request
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.predict import Limits

from .conftest import ROW, TestClient

INFER = "/v2/models/clinic/infer"
CHECKED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)


@pytest.fixture
def client(home: Home, stored: StoredModel) -> Iterator[TestClient]:
    limits = Limits(batch_bytes=65_536, batch_rows=50)
    # Never late: what is tested here is what is answered, however loaded the machine is.
    made = create_app(
        home, limits=limits, lifecycle=Lifecycle(most_lag=float("inf")), watch_seconds=3600
    )
    with TestClient(made) as client:
        yield client


def tensor(name: str, values: list, *, nested: bool = False, **changes: object) -> dict:
    kind = "BYTES" if name in ("sex", "ward") else "FP64"
    shape = [len(values), 1] if nested else [len(values)]
    data = [[value] for value in values] if nested else values
    return {"name": name, "datatype": kind, "shape": shape, "data": data} | changes


def inputs(rows: list[dict], *, nested: bool = False) -> list[dict]:
    missing = {"pm2.5": float("nan"), "sex": ""}

    def value(row: dict, name: str) -> object:
        return missing[name] if row[name] is None else row[name]

    return [tensor(name, [value(row, name) for row in rows], nested=nested) for name in ROW]


def post(client: TestClient, document: object, path: str = INFER, **headers: str):
    kind = {"content-type": "application/json"}
    return client.post(path, content=json.dumps(document), headers=kind | headers)


def test_server_and_health(client: TestClient) -> None:
    server = client.get("/v2").json()
    assert server["name"] == "fedrisk"
    assert server["extensions"] == ["binary_tensor_data"]
    assert server["version"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_without_a_model_nothing_is_ready(home: Home) -> None:
    with TestClient(create_app(home, watch_seconds=3600)) as client:
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v2/models/clinic/ready").status_code == 503
        answer = post(client, {"inputs": []})
        assert answer.status_code == 503
        assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("path", ["/v2/models/clinic", "/v2/models/clinic/versions/1"])
def test_metadata_tells_the_tensors(client: TestClient, path: str) -> None:
    document = client.get(path).json()
    assert (document["name"], document["versions"]) == ("clinic", ["1"])
    assert document["platform"]
    kinds = {each["name"]: (each["datatype"], each["shape"]) for each in document["inputs"]}
    assert kinds["age"] == ("FP64", [-1])
    assert kinds["ward"] == ("BYTES", [-1])
    outputs = {each["name"]: each["datatype"] for each in document["outputs"]}
    assert outputs == {"risk_score": "FP64", "risk_level": "BYTES"}
    assert client.get(f"{path}/ready").json() == {"name": "clinic", "ready": True}


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/clinic/versions/2"])
def test_another_model_or_version_is_404(client: TestClient, path: str) -> None:
    for answer in (
        client.get(path),
        client.get(f"{path}/ready"),
        post(client, {"inputs": inputs([ROW])}, f"{path}/infer"),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"]


@pytest.mark.parametrize("nested", [False, True])
def test_an_answer_has_the_protocols_shape(client: TestClient, nested: bool) -> None:
    request = {"id": "mine", "inputs": inputs([ROW, ROW], nested=nested)}
    answer = post(client, request, "/v2/models/clinic/versions/1/infer")
    assert answer.status_code == 200
    document = answer.json()
    assert {k: document[k] for k in ("id", "model_name", "model_version")} == {
        "id": "mine",
        "model_name": "clinic",
        "model_version": "1",
    }
    score, level = document["outputs"]
    risk = client.post("/predict", json=ROW).json()
    assert score["data"] == pytest.approx([risk["risk_score"]] * 2, abs=1e-12)
    assert (score["name"], score["datatype"], score["shape"]) == ("risk_score", "FP64", [2])
    assert level == {
        "name": "risk_level",
        "datatype": "BYTES",
        "shape": [2],
        "data": [risk["risk_level"]] * 2,
    }
    assert "id" not in post(client, {"inputs": inputs([ROW])}).json()


def test_outputs_are_those_asked_for(client: TestClient) -> None:
    request = {"inputs": inputs([ROW]), "outputs": [{"name": "risk_level"}]}
    names = [each["name"] for each in post(client, request).json()["outputs"]]
    assert names == ["risk_level"]
    refused = post(client, request | {"outputs": [{"name": "reason"}]})
    assert refused.status_code == 400
    assert "risk_score" in refused.json()["error"]


ROWS = st.fixed_dictionaries(
    {
        "age": st.floats(0, 120),
        "pm2.5": st.none() | st.floats(0, 1e6),
        "marker": st.floats(-1e6, 1e6) | st.integers(-5, 5),
        "sex": st.sampled_from(["female", "male", None]),
        "ward": st.sampled_from(["a", "b", "c d"]),
    }
)


@given(rows=st.lists(ROWS, min_size=1, max_size=5), nested=st.booleans())
@CHECKED
def test_infer_equals_predict(client: TestClient, rows: list[dict], nested: bool) -> None:
    outputs = post(client, {"inputs": inputs(rows, nested=nested)}).json()["outputs"]
    singles = [client.post("/predict", json=row).json() for row in rows]
    assert outputs[0]["data"] == pytest.approx([s["risk_score"] for s in singles], abs=1e-12)
    assert outputs[1]["data"] == [s["risk_level"] for s in singles]


@pytest.mark.parametrize(
    ("changed", "status", "told"),
    [
        (tensor("age", [50, 130]), 422, "tensor 'age', row 2: must be between 0 and 120 year"),
        (tensor("age", [50, None]), 422, "tensor 'age', row 2: must not be missing"),
        (tensor("age", [float("nan"), 1]), 422, "tensor 'age', row 1: must not be missing"),
        (tensor("age", [float("inf"), 1]), 422, "tensor 'age', row 1: must be finite"),
        (tensor("age", [10**400, 1]), 422, "tensor 'age', row 1"),
        (tensor("age", [True, 1]), 422, "tensor 'age', row 1: must be a number"),
        (tensor("age", [[1, 2], 1]), 422, "tensor 'age', row 1: must be a number"),
        (tensor("age", ["secretive", 1]), 422, "tensor 'age', row 1: must be a number"),
        (tensor("ward", ["a", "z"]), 422, "tensor 'ward', row 2"),
        (tensor("ward", ["", "a"]), 422, "tensor 'ward', row 1: must not be missing"),
        (tensor("ward", [{"a": 1}, "a"]), 422, "tensor 'ward', row 1"),
        (tensor("age", [1, 2], datatype="FP32"), 400, "tensor 'age': datatype must be FP64"),
        (tensor("age", [1, 2], shape=[3]), 400, "tensor 'age': shape says 3, data 2"),
        (tensor("age", [1, 2], shape=[-2]), 400, "tensor 'age': shape says"),
        (tensor("age", [1, 2], shape=[]), 400, "tensor 'age': shape must be"),
        (tensor("age", [1, 2], shape=[1, 2]), 400, "tensor 'age': shape must be"),
        (tensor("age", [1]), 400, "different numbers of rows"),
        (tensor("age", [1, 2]) | {"name": "weight"}, 422, "tensor 'weight': is not a feature"),
        (tensor("age", [1, 2]) | {"name": "ward"}, 400, "twice"),
        (tensor("age", [1, 2], shape="[2]"), 400, "inputs.0.shape"),
        ({"name": "age"}, 400, "inputs.0.shape"),
    ],
)
def test_a_wrong_tensor_is_told_by_name_and_row(
    client: TestClient, caplog, changed: dict, status: int, told: str
) -> None:
    others = [each for each in inputs([ROW, ROW]) if each["name"] != "age"]
    if changed["name"] == "ward" and changed["datatype"] == "BYTES":
        others = [each for each in inputs([ROW, ROW]) if each["name"] != "ward"]
    with caplog.at_level(logging.DEBUG):
        answer = post(client, {"inputs": [changed, *others]})
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert told in answer.json()["error"]
    assert "secretive" not in caplog.text


def test_a_required_tensor_may_not_be_left_out(client: TestClient) -> None:
    left = [each for each in inputs([ROW]) if each["name"] not in ("pm2.5", "sex")]
    assert post(client, {"inputs": left}).status_code == 200
    answer = post(client, {"inputs": [e for e in left if e["name"] not in ("age", "ward")]})
    assert answer.status_code == 422
    assert answer.json()["error"] == (
        "tensor 'age': must not be missing; tensor 'ward': must not be missing"
    )


def test_many_violations_are_counted(client: TestClient) -> None:
    answer = post(client, {"inputs": inputs([{**ROW, "age": -1}] * 30)})
    assert answer.json()["error"].endswith("; and 20 more")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"\xff", {}, 400),
        (b"[" * 60_000, {}, 400),
        (b'{"inputs": []}', {}, 422),
        (b"{}", {}, 400),
        (b" " * 70_000, {}, 413),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"inference-header-content-length": "2"}, 400),
    ],
)
def test_bodies_that_are_no_request(
    client: TestClient, body: bytes, headers: dict, status: int
) -> None:
    kind = {"content-type": "application/json"}
    answer = client.post(INFER, content=body, headers=kind | headers)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    figures = client.get("/metrics").text
    assert f'prediction_errors_total{{endpoint="/v2/infer",status="{status}"}}' in figures


@pytest.mark.parametrize("size", [1 << 63, 10**4299], ids=["64 bits", "4300 digits"])
def test_sizes_that_nothing_has_are_refused(client: TestClient, size: int) -> None:
    announced = {"data": None, "parameters": {"binary_data_size": size}}
    for wrong in ({"shape": [size]}, announced, {**announced, "shape": [size]}):
        tensors = [tensor("age", [50]) | wrong, tensor("marker", [0]) | wrong]
        answer = post(client, {"inputs": tensors})
        assert answer.status_code == 400
        assert len(answer.text) < 200


def test_tensors_without_end_are_refused_at_the_first_too_many() -> None:
    body = {"inputs": [tensor("age", [])] * (MOST_TENSORS + 1)}
    with pytest.raises(UsageError, match="inputs: List should have at most"):
        parse_request(json.dumps(body).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "shape", "data", "datatype"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(first=JSON, outputs=JSON, identifier=JSON)
@CHECKED
def test_no_json_makes_the_server_fail(client: TestClient, first, outputs, identifier) -> None:
    request = {"inputs": [first, *inputs([ROW])], "outputs": outputs, "id": identifier}
    answer = post(client, request)
    assert answer.status_code in (400, 422)
    assert list(answer.json()) == ["error"]


def test_inference_is_counted_and_captured(home: Home, stored: StoredModel, tmp_path: Path) -> None:
    windows: list = []
    rules = CaptureRules(least=1)
    capture = Capture("here", windows.extend, lambda: datetime.now(UTC), rules, tmp_path / "w.json")
    with TestClient(create_app(home, capture=capture, watch_seconds=3600)) as client:
        post(client, {"inputs": inputs([{**ROW, "age": 110}] * 3)})
        text = client.get("/metrics").text
    assert 'predictions_total{endpoint="/v2/infer",level="high",version="1"} 3.0' in text
    assert 'prediction_latency_seconds_count{endpoint="/v2/infer"} 1.0' in text
    assert 'prediction_implausible_values_total{feature="age"} 3.0' in text
    assert sum(window.profile.rows for window in windows) == 3


def test_inference_asks_for_the_scope_batch(home: Home, stored: StoredModel) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    one, first = make_key("one", ["predict"], now)
    two, second = make_key("two", ["batch"], now)
    write_keys(home.keys, KeyRing({one.id: one, two.id: two}))
    guard = Guard(home.keys, None, lambda: now)
    with TestClient(create_app(home, guard=guard, watch_seconds=3600)) as client:
        answers = [
            post(client, {"inputs": inputs([ROW])}, **headers)
            for headers in (
                {},
                {"authorization": f"Bearer {first}"},
                {"authorization": f"Bearer {second}"},
            )
        ]
        assert [answer.status_code for answer in answers] == [401, 403, 200]
        assert list(answers[0].json()) == ["error"]
        assert answers[0].headers["www-authenticate"] == "Bearer"
        assert client.get("/v2/health/ready").status_code == 200


def test_openapi_lists_the_protocols(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v2", "/v2/models/{name}", "/v2/models/{name}/infer"} <= set(paths)
    assert {"/fhir/RiskAssessment", "/cds-services", "/cds-services/{service}"} <= set(paths)


def binary(rows: list[dict], **changes: object) -> tuple[dict, bytes]:
    """A request whose tensors are bytes: the JSON, and what follows it."""
    document: dict = {"inputs": [], "parameters": {"binary_data_output": True}}
    behind = b""
    for each in inputs(rows):
        values = each.pop("data")
        if each["datatype"] == "FP64":
            raw = struct.pack(f"<{len(values)}d", *values)
        else:
            texts = [value.encode() for value in values]
            raw = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        document["inputs"].append(each | {"parameters": {"binary_data_size": len(raw)}})
        behind += raw
    return document | changes, behind


def post_binary(client: TestClient, document: dict, behind: bytes, length: object = None):
    head = json.dumps(document).encode()
    place = str(len(head) if length is None else length)
    kind = {"content-type": "application/octet-stream", "inference-header-content-length": place}
    return client.post(INFER, content=head + behind, headers=kind)


OTHER = {"age": 40.0, "pm2.5": None, "marker": 0.0, "sex": None, "ward": "a"}


def test_binary_tensors_are_scored_as_json_is(client: TestClient) -> None:
    plain = post(client, {"inputs": inputs([ROW, OTHER])}).json()
    answer = post_binary(client, *binary([ROW, OTHER]))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    document, behind = json.loads(answer.content[:length]), answer.content[length:]
    risks, levels = document["outputs"]
    size = risks["parameters"]["binary_data_size"]
    assert list(struct.unpack("<2d", behind[:size])) == plain["outputs"][0]["data"]
    expected = [text.encode() for text in plain["outputs"][1]["data"]]
    assert behind[size:] == b"".join(struct.pack("<I", len(text)) + text for text in expected)
    assert levels["parameters"] == {"binary_data_size": len(behind) - size}
    assert [set(output) for output in (risks, levels)] == [
        {"name", "datatype", "shape", "parameters"}
    ] * 2


def test_an_output_says_for_itself_whether_it_is_binary(client: TestClient) -> None:
    wanted = [{"name": "risk_score", "parameters": {"binary_data": False}}, {"name": "risk_level"}]
    answer = post_binary(client, *binary([ROW], outputs=wanted))
    length = int(answer.headers["inference-header-content-length"])
    risks, levels = json.loads(answer.content[:length])["outputs"]
    assert "data" in risks
    assert "data" not in levels
    none = post_binary(client, *binary([ROW], parameters={}))
    assert none.headers["content-type"] == "application/json"
    assert all("data" in output for output in none.json()["outputs"])


@pytest.mark.parametrize("length", ["x", "-1", "99999", "9" * 5000, ""])
def test_a_wrong_length_of_the_json_is_refused(client: TestClient, length: str) -> None:
    answer = post_binary(client, *binary([ROW]), length=length)
    assert answer.status_code == 400
    assert "Inference-Header-Content-Length" in answer.json()["error"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"parameters": {}}, "it needs data, or binary_data_size"),
        ({"data": [1.0]}, "it needs data, or binary_data_size"),
        ({"parameters": {"binary_data_size": 7}}, "bytes follow the JSON"),
        ({"parameters": {"binary_data_size": -8}}, "bytes follow the JSON"),
        ({"parameters": {"binary_data_size": "8"}}, "binary_data_size"),
        ({"shape": [2]}, "2 doubles are 16 bytes"),
        ({"shape": [2**62]}, "at most 50 are taken"),
        ({"datatype": "BYTES"}, "datatype must be FP64"),
    ],
)
def test_bytes_that_were_not_announced_are_refused(
    client: TestClient, change: dict, text: str
) -> None:
    document, behind = binary([ROW])
    document["inputs"][0] |= change
    answer = post_binary(client, document, behind)
    assert answer.status_code == 400
    assert text in answer.json()["error"]


@CHECKED
@given(behind=st.binary(max_size=200))
def test_whatever_follows_the_json_is_the_callers_fault(client: TestClient, behind: bytes) -> None:
    document, _ = binary([ROW])
    sizes = [len(behind), 0, 0, 0, 0]
    for each, size in zip(document["inputs"], sizes[::-1], strict=True):
        each["parameters"] = {"binary_data_size": size}
    assert post_binary(client, document, behind).status_code == 400
