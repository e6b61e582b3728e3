"""The Open Inference Protocol over gRPC: a public client against a real server process."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from running import start, wait_until
from serving.conftest import ROW, fit

from fedrisk.home import Home
from fedrisk.models.checks import columns_from_rows, make_checks
from fedrisk.registry.cache import StoredModel, write_model
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.champion import now

from .conftest import Served, Starting

grpc = pytest.importorskip("grpc")
triton = pytest.importorskip("tritonclient.grpc")
service_pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
inference_pb2 = pytest.importorskip("fedrisk.serving.grpc.generated.inference_pb2")

ROWS = [
    ROW,
    {"age": 40.25, "pm2.5": None, "marker": 0.0, "sex": None, "ward": "a"},
    {"age": 104.0, "pm2.5": 3.5, "marker": 9.0, "sex": "female", "ward": "b"},
]
MISSING = {"pm2.5": float("nan"), "sex": ""}
TEXTS = ("sex", "ward")


def expected(seed: int = 1) -> object:
    """Risks of `ROWS` by the model that was fitted with this seed."""
    model, _ = fit(seed=seed)
    risks = model.risk(columns_from_rows(model.study, ROWS)).tolist()
    return pytest.approx(risks, rel=1e-12)


def values(rows: list[dict], name: str) -> list:
    return [MISSING[name] if row[name] is None else row[name] for row in rows]


def inputs(rows: list[dict]) -> list:
    """One tensor a feature, as the client makes them: raw."""
    made = []
    for name in ROW:
        kind = "BYTES" if name in TEXTS else "FP64"
        tensor = triton.InferInput(name, [len(rows)], kind)
        array = np.array(values(rows, name), np.object_ if name in TEXTS else np.float64)
        made.append(tensor.set_data_from_numpy(array))
    return made


def typed(rows: list[dict], **changes) -> object:
    """A request with typed contents, by the client's own messages."""
    request = service_pb2.ModelInferRequest(**({"model_name": "clinic"} | changes))
    for name in ROW:
        kind = "BYTES" if name in TEXTS else "FP64"
        tensor = request.inputs.add(name=name, datatype=kind, shape=[len(rows), 1])
        if name in TEXTS:
            tensor.contents.bytes_contents.extend(v.encode() for v in values(rows, name))
        else:
            tensor.contents.fp64_contents.extend(values(rows, name))
    return request


def call(served: Served, request: object, *metadata: tuple[str, str]):
    """Response and trailing metadata, of a call without the client's conveniences."""
    body = request if isinstance(request, bytes) else request.SerializeToString()
    with grpc.insecure_channel(served.grpc) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer, done = method.with_call(body, metadata=metadata, timeout=20)
        return service_pb2.ModelInferResponse.FromString(answer), dict(done.trailing_metadata())


def refused(served: Served, request: object, *metadata: tuple[str, str]):
    with pytest.raises(grpc.RpcError) as caught:
        call(served, request, *metadata)
    error = caught.value
    return error.code().name, error.details(), dict(error.trailing_metadata() or ())


def figure(served: Served, name: str, **labels: str) -> float:
    """Sum of the figures of this name that have these labels."""
    text = served.get("/metrics")[1]
    lines = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.M)
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(float(value) for have, value in lines if all(each in have for each in wanted))


def test_the_public_client_asks_everything(served: Served) -> None:
    before = figure(served, "predictions_total", endpoint="grpc", version="1")
    with triton.InferenceServerClient(served.grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("clinic")
        assert client.is_model_ready("clinic", "1")
        assert client.get_server_metadata().name == "fedrisk"
        about = client.get_model_metadata("clinic")
        assert (about.name, list(about.versions)) == ("clinic", ["1"])
        kinds = {each.name: each.datatype for each in about.inputs}
        assert kinds == {n: "BYTES" if n in TEXTS else "FP64" for n in ROW}
        answer = client.infer("clinic", inputs(ROWS), request_id="42")
        assert answer.as_numpy("risk_score").tolist() == expected()
        assert set(answer.as_numpy("risk_level").tolist()) <= {b"low", b"medium", b"high"}
        response = answer.get_response()
        assert (response.model_name, response.model_version, response.id) == ("clinic", "1", "42")
        wanted = [triton.InferRequestedOutput("risk_level")]
        some = client.infer("clinic", inputs(ROWS), "1", outputs=wanted).get_response()
        assert [output.name for output in some.outputs] == ["risk_level"]
        with pytest.raises(Exception, match=r"NOT_FOUND.*no such model"):
            client.infer("other", inputs(ROWS))
        with pytest.raises(Exception, match=r"NOT_FOUND.*this version does not serve, 1 does"):
            client.get_model_metadata("clinic", "2")
    after = figure(served, "predictions_total", endpoint="grpc", version="1")
    assert after - before == 2 * len(ROWS)
    assert figure(served, "prediction_latency_seconds_count", endpoint="grpc") >= 2
    assert figure(served, "prediction_errors_total", endpoint="grpc", status="404") == 1


@pytest.mark.parametrize("binary", [True, False])
def test_the_public_client_asks_over_http_too(served: Served, binary: bool) -> None:
    rest = pytest.importorskip("tritonclient.http")
    asked = []
    for name in ROW:
        numbers = np.array(values(ROWS, name), np.object_ if name in TEXTS else np.float64)
        tensor = rest.InferInput(name, [len(ROWS)], "BYTES" if name in TEXTS else "FP64")
        asked.append(tensor.set_data_from_numpy(numbers, binary_data=binary))
    wanted = [
        rest.InferRequestedOutput(name, binary_data=binary) for name in ("risk_score", "risk_level")
    ]
    with rest.InferenceServerClient(served.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("clinic", "1")
        assert client.get_server_metadata()["name"] == "fedrisk"
        kinds = {
            each["name"]: each["datatype"] for each in client.get_model_metadata("clinic")["inputs"]
        }
        assert kinds == {n: "BYTES" if n in TEXTS else "FP64" for n in ROW}
        answer = client.infer("clinic", asked, request_id="42", outputs=wanted)
        assert answer.as_numpy("risk_score").tolist() == expected()
        assert answer.get_response()["id"] == "42"
        plain = client.infer("clinic", asked)  # what the client asks for when nothing is said
        assert plain.as_numpy("risk_score").tolist() == expected()
        with pytest.raises(Exception, match="no such model"):
            client.infer("other", asked)


def test_typed_contents_and_identifiers(served: Served) -> None:
    answer, told = call(served, typed(ROWS, id="7"), ("x-request-id", "ward-7"))
    assert list(answer.outputs[0].contents.fp64_contents) == expected()
    assert not answer.raw_output_contents
    assert len(answer.outputs[1].contents.bytes_contents) == len(ROWS)
    assert (answer.id, told["x-request-id"]) == ("7", "ward-7")
    _, made = call(served, typed(ROWS), ("x-request-id", "not sane"))
    assert re.fullmatch("[0-9a-f]{32}", made["x-request-id"])


def both(rows: list[dict]) -> object:
    request = typed(rows)
    request.raw_input_contents.extend(b"" for _ in request.inputs)
    return request


def changed(place: int = 0, **changes) -> object:
    request = typed([ROW])
    for key, value in changes.items():
        if key == "shape":
            del request.inputs[place].shape[:]
            request.inputs[place].shape.extend(value)
        else:
            setattr(request.inputs[place], key, value)
    return request


def raw(*contents: bytes) -> object:
    request = typed([ROW])
    for tensor in request.inputs:
        tensor.ClearField("contents")
    request.raw_input_contents.extend(contents)
    return request


EIGHT = np.array([1.0]).tobytes()
BAD = {
    "no message": (b"\xff\xff", "the message is not a ModelInferRequest"),
    "no inputs": (service_pb2.ModelInferRequest(model_name="clinic"), "age"),
    "outside": (typed([ROW | {"age": 999.0}]), "tensor 'age', row 1: must be between 0 and 120"),
    "level": (
        typed([ROW | {"ward": "x9secret"}]),
        "tensor 'ward', row 1: must be one of a, b, c d",
    ),
    "missing": (typed([ROW | {"age": float("nan")}]), "tensor 'age', row 1: must not be missing"),
    "no rows": (typed([]), "no rows"),
    "datatype": (changed(datatype="FP32"), "tensor 'age': datatype must be FP64"),
    "shape": (changed(shape=[2]), "shape says 2, data 1"),
    "many": (changed(shape=[2**62]), "at most 10000 are taken"),
    "negative": (changed(shape=[-1]), "shape says -1, data 1"),
    "unknown": (changed(name="height"), "is not a feature"),
    "twice": (changed(name="ward"), "a tensor comes twice"),
    "both": (both([ROW]), "exclude each other"),
    "few raw": (raw(EIGHT), "5 inputs have 1 raw_input_contents"),
    "cut": (raw(EIGHT, EIGHT, EIGHT[:7], b"", b""), "tensor 'marker': 1 doubles are 8 bytes"),
    "text": (raw(EIGHT, EIGHT, EIGHT, b"\x09\0\0\0a", b""), "tensor 'sex': its bytes are not 1"),
    "encoding": (
        raw(EIGHT, EIGHT, EIGHT, b"\1\0\0\0\xff", b"\1\0\0\0a"),
        "'sex': its texts are not",
    ),
}


def test_bad_requests_are_the_callers_fault_and_no_value_is_logged(
    starting: Starting, stored: StoredModel
) -> None:
    served = starting()
    for name, (request, text) in BAD.items():
        code, details, told = refused(served, request)
        assert code == "INVALID_ARGUMENT", name
        assert text in details, name
        assert told["x-request-id"], name
    with_unknown = typed([ROW])
    with_unknown.outputs.add(name="risk")
    assert refused(served, with_unknown)[0] == "INVALID_ARGUMENT"
    assert refused(served, b"\0" * ((16 << 20) + 1))[0] == "RESOURCE_EXHAUSTED"
    assert call(served, typed(ROWS))[0].model_version == "1"
    assert figure(served, "prediction_errors_total", endpoint="grpc") == len(BAD) + 1
    served.stop()
    wait_until(lambda: served.log.exists() and served.log.read_text(), 10)
    assert not re.search("x9secret|999|Traceback", served.log.read_text())


def test_keys_and_scopes(starting: Starting, home: Home, stored: StoredModel) -> None:
    batch, secret = make_key("b", ("batch",), now(), per_second=1e-6, burst=2)
    single, other = make_key("p", ("predict",), now())
    write_keys(home.keys, KeyRing({batch.id: batch, single.id: single}))
    journal = home.root / "audit.jsonl"
    served = starting(FEDRISK_AUDIT=str(journal))
    code, details, told = refused(served, typed(ROWS))
    assert (code, details) == ("UNAUTHENTICATED", "an API key is needed")
    assert told["www-authenticate"] == "Bearer"
    code, details, _ = refused(served, typed(ROWS), ("authorization", f"Bearer {other}"))
    assert (code, details) == ("PERMISSION_DENIED", f"API key {single.id} is not for 'batch'")
    right = ("authorization", f"Bearer {secret}")
    answer, _ = call(served, typed(ROWS), right, ("x-request-id", "mine"))
    assert list(answer.outputs[0].contents.fp64_contents) == expected()
    call(served, typed(ROWS), right)
    code, _, told = refused(served, typed(ROWS), right)
    assert code == "RESOURCE_EXHAUSTED"
    assert int(told["retry-after"]) >= 1
    with triton.InferenceServerClient(served.grpc) as client:
        assert client.is_model_ready("clinic")
        with pytest.raises(Exception, match="RESOURCE_EXHAUSTED"):
            client.infer("clinic", inputs(ROWS), headers={"authorization": right[1]})
    served.stop()
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [line["status"] for line in lines] == [401, 403, 200, 200, 429, 429]
    mine = next(line for line in lines if line["request_id"] == "mine")
    assert (mine["key_id"], mine["version"], mine["rows"]) == (batch.id, "1", len(ROWS))


def test_a_trial_answers_over_grpc_too(starting: Starting, home: Home, stored: StoredModel) -> None:
    model, bins = fit(seed=7)
    checks = make_checks(model)
    place = home.challenger
    write_model(place, model.document(), bins, checks, name="clinic", version="2", run_id="run7")
    served = starting(FEDRISK_CANARY_SHARE="1")
    assert wait_until(lambda: json.loads(served.get("/ready")[1])["challenger"]["model"], 30)
    answer, _ = call(served, typed(ROWS), ("x-canary-key", "ward-7"))
    assert answer.model_version == "2"
    assert list(answer.outputs[0].contents.fp64_contents) == expected(seed=7)
    named, _ = call(served, typed(ROWS, model_version="1"))
    assert named.model_version == "1"
    assert list(named.outputs[0].contents.fp64_contents) == expected()


@pytest.mark.slow
def test_draining_is_told_and_running_calls_are_answered(
    starting: Starting, stored: StoredModel
) -> None:
    served = starting(FEDRISK_DRAIN_SECONDS="3")
    with triton.InferenceServerClient(served.grpc) as client:
        assert wait_until(client.is_server_ready, 60)
        served.process.terminate()
        assert wait_until(lambda: not client.is_server_ready(), 3)
        assert client.is_server_live()
        assert not client.is_model_ready("clinic")
        assert client.infer("clinic", inputs(ROWS)).as_numpy("risk_score") is not None
    assert served.stop() == 0


def test_without_a_model_nothing_is_ready(starting: Starting, home: Home) -> None:
    served = starting()
    with triton.InferenceServerClient(served.grpc) as client:
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert not client.is_model_ready("clinic")
    code, details, _ = refused(served, typed(ROWS))
    assert code == "UNAVAILABLE"
    assert "no model serves yet" in details


@pytest.mark.slow
def test_workers_share_the_port(starting: Starting, stored: StoredModel) -> None:
    served = starting("--workers", "2")
    for _ in range(20):
        assert call(served, typed(ROWS))[0].model_version == "1"
    assert figure(served, "predictions_total", endpoint="grpc") == 20 * len(ROWS)


def test_a_taken_port_ends_the_command(served: Served, home: Home, stored: StoredModel) -> None:
    port = served.grpc.rpartition(":")[2]
    command = start("serve", "--home", str(home.root), "--port", "0", "--grpc-port", port)
    _, told = command.communicate(timeout=60)
    assert command.returncode == 10
    assert f"port {port} on 127.0.0.1 is in use" in told


@pytest.mark.slow
def test_certificates_belong_together_and_encrypt(
    starting: Starting, home: Home, stored: StoredModel, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    settings = {"FEDRISK_GRPC_CERTIFICATE": str(certificate)}
    command = start(
        "serve", "--home", str(home.root), "--port", "0", "--grpc-port", "0", **settings
    )
    assert "belong together" in command.communicate(timeout=60)[1]
    assert command.returncode == 2
    served = starting(**settings, FEDRISK_GRPC_KEY=str(key))
    trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
    with grpc.secure_channel(served.grpc, trusted) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = method(typed(ROWS).SerializeToString(), timeout=20)
    assert service_pb2.ModelInferResponse.FromString(answer).model_version == "1"


@pytest.mark.slow
def test_another_certificate_is_shown_without_a_failed_call(
    starting: Starting, home: Home, stored: StoredModel, tmp_path: Path
) -> None:
    """Calls go on, over an old connection and new ones, while the pair is changed file by file."""
    certificate, key = self_signed(tmp_path)
    former = certificate.read_bytes()
    served = starting(FEDRISK_GRPC_CERTIFICATE=str(certificate), FEDRISK_GRPC_KEY=str(key))

    def ask(channel: grpc.Channel) -> None:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        method(typed(ROWS).SerializeToString(), timeout=20)

    def connect(trusted: bytes) -> None:
        # Without a pool, lest an open connection is taken in place of a new one.
        options = [("grpc.use_local_subchannel_pool", 1)]
        credentials = grpc.ssl_channel_credentials(trusted)
        with grpc.secure_channel(served.grpc, credentials, options) as channel:
            ask(channel)

    with grpc.secure_channel(served.grpc, grpc.ssl_channel_credentials(former)) as open_before:
        ask(open_before)
        (tmp_path / "next").mkdir()
        following, its_key = self_signed(tmp_path / "next")
        fresh = following.read_bytes()
        following.replace(certificate)
        connect(former)  # the key is still the former one: so is what is shown
        ask(open_before)
        its_key.replace(key)
        connect(fresh)
        ask(open_before)
        with pytest.raises(grpc.RpcError):
            connect(former)
        certificate.write_text("damaged")
        connect(fresh)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fedrisk")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now() - timedelta(days=1))
        .not_valid_after(now() + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "grpc.pem", folder / "grpc.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    plain = PrivateFormat.PKCS8, NoEncryption()
    private.write_bytes(key.private_bytes(Encoding.PEM, *plain))
    return certificate, private


def test_the_messages_are_the_public_protocols() -> None:
    """Every message and field of ours has the name, number and type of the public client's."""
    theirs = service_pb2.DESCRIPTOR.message_types_by_name
    ours = inference_pb2.DESCRIPTOR.message_types_by_name
    assert {name: shape(message) for name, message in ours.items()} == {
        name: shape(theirs[name]) for name in ours
    }


def shape(message) -> dict:
    """Numbers, names and types of a message's fields, and of the messages in it."""
    fields = {
        field.number: (
            field.name,
            field.type,
            field.is_repeated,
            field.message_type and field.message_type.full_name,
            field.containing_oneof and field.containing_oneof.name,
        )
        for field in message.fields
    }
    return {"fields": fields} | {each.name: shape(each) for each in message.nested_types}


def test_the_generated_code_is_what_its_source_gives(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    root = Path(__file__).parents[3]
    if not (root / ".venv/bin/python").exists():
        pytest.skip("`make proto` works in .venv")
    subprocess.run([root / "scripts/generate-proto.sh", tmp_path], check=True)
    for name in ("inference_pb2.py", "inference_pb2.pyi"):
        committed = root / "src/fedrisk/serving/grpc/generated" / name
        assert (tmp_path / name).read_text() == committed.read_text(), "run `make proto`"


def test_every_line_of_the_log_is_the_logs_own(starting: Starting, stored: StoredModel) -> None:
    served = starting(FEDRISK_LOG_FORMAT="json")
    client = triton.InferenceServerClient(served.grpc)
    assert client.is_server_ready()
    body = b"\n".join([json.dumps(ROW).encode()] * 2000)  # long enough for a process beside
    kind = {"content-type": "application/x-ndjson"}
    request = urllib.request.Request(f"{served.url}/predict/batch", body, kind)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert len(answer.read().splitlines()) == 2000
    assert client.is_server_ready()
    client.close()
    assert served.stop() == 0
    assert wait_until(served.log.exists, 10)
    for line in served.log.read_text().splitlines():
        assert json.loads(line)["level"] == "info", line
