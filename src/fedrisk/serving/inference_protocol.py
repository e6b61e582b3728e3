"""Open Inference Protocol, version 2, over REST: one tensor a feature in, scores and levels out.

Tensors come in the JSON, or as bytes behind it, as the protocol's binary extension has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fedrisk import __version__
from fedrisk.errors import UsageError
from fedrisk.serving.access import Guard, Guarded
from fedrisk.serving.dialect import Dialect
from fedrisk.serving.formats import ScoredBatch, is_json
from fedrisk.serving.inference import PLATFORM, Inference, output_data
from fedrisk.serving.journal import SCORED
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.predict import PredictBatch, canary_key
from fedrisk.serving.tensors import OUTPUTS, Tensor, datatype, encode, told, wanted_outputs
from fedrisk.serving.transport import JSON, header, media_type, read_body, respond

#: What the figures count inference under.
INFER = "/v2/infer"
#: Bytes of the JSON, in front of the tensors' bytes.
HEADER_LENGTH = b"inference-header-content-length"
OCTETS = b"application/octet-stream"
EXTENSIONS = ["binary_tensor_data"]


#: Far beyond any body; Python refuses to write numbers of more than 4,300 digits into an error.
_Size = Annotated[int, Field(gt=-(1 << 63), lt=1 << 63)]
#: Most tensors of a request, of either kind: more than a study has features.
MOST_TENSORS = 10_000


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class InputParameters(_Part):
    """Of an input; others are taken and not looked at, as the protocol allows."""

    binary_data_size: _Size | None = None


class Input(_Part):
    """One input tensor, its values in ``data`` or behind the JSON."""

    name: str
    shape: list[_Size]
    datatype: str
    data: list[Any] | None = None
    parameters: InputParameters = InputParameters()


class OutputParameters(_Part):
    """Of an output."""

    binary_data: bool | None = None


class RequestedOutput(_Part):
    """One output that is wanted."""

    name: str
    parameters: OutputParameters = OutputParameters()


class RequestParameters(_Part):
    """Of a request."""

    binary_data_output: bool = False


class InferenceRequest(_Part):
    """A request."""

    id: str | None = None
    inputs: Annotated[list[Input], Field(max_length=MOST_TENSORS)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=MOST_TENSORS)] | None = None
    parameters: RequestParameters = RequestParameters()

    def binary(self, names: Sequence[str]) -> set[str]:
        """Names of the outputs that are wanted as bytes."""
        given = {output.name: output.parameters.binary_data for output in self.outputs or ()}
        whole = self.parameters.binary_data_output
        return {n for n in names if (whole if given.get(n) is None else given[n])}


def parse_request(body: bytes) -> InferenceRequest:
    """The request in a body.

    Raises
    ------
    UsageError
        When it is not JSON, or not a request; the text names the place and never a value.
    """
    try:
        return InferenceRequest.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if found["type"] == "json_invalid":
            raise UsageError("the body is not valid JSON") from None
        place = ".".join(map(str, found["loc"])) or "the request"
        raise UsageError(f"{place}: {found['msg']}") from None


def split_body(body: bytes, length: bytes | None) -> tuple[bytes, bytes]:
    """The JSON of a body, and the bytes behind it.

    Parameters
    ----------
    body : bytes
    length : bytes or None
        The header that says where the JSON ends; without it there is nothing else.

    Raises
    ------
    UsageError
    """
    if length is None:
        return body, b""
    if not length.isdigit() or len(length) > 19 or int(length) > len(body):
        raise UsageError("Inference-Header-Content-Length is not the length of the body's JSON")
    return body[: int(length)], body[int(length) :]


def tensors_of(inputs: Sequence[Input], raw: bytes) -> list[Tensor]:
    """The tensors, each with the bytes that are its own.

    Raises
    ------
    UsageError
        When one has no values or both kinds, or the bytes are not those that were announced.
    """
    tensors = []
    place = 0
    for each in inputs:
        size = each.parameters.binary_data_size
        if (size is None) == (each.data is None):
            raise UsageError(f"tensor {each.name!r}: it needs data, or binary_data_size")
        data: list[Any] | bytes = each.data or []
        if size is not None:
            data = raw[place : place + size] if size >= 0 else b""
            place += size
        tensors.append(Tensor(each.name, each.datatype, each.shape, data))
    if place != len(raw):
        raise UsageError(f"{len(raw)} bytes follow the JSON, binary_data_size says {place}")
    return tensors


def inference_response(
    request: InferenceRequest, batch: ScoredBatch, names: Sequence[str]
) -> tuple[bytes, bytes]:
    """The answer's JSON, and the bytes of the outputs that are wanted so."""
    model = {"model_name": batch.model["name"], "model_version": batch.model["version"]}
    echoed = {} if request.id is None else {"id": request.id}
    binary = request.binary(names)
    outputs, behind = [], b""
    for name, values in output_data(batch, names).items():
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(values)]}
        if name in binary:
            raw = encode(OUTPUTS[name], values)
            output["parameters"] = {"binary_data_size": len(raw)}
            behind += raw
        else:
            output["data"] = values
        outputs.append(output)
    return orjson.dumps({**model, **echoed, "outputs": outputs}), behind


def model_metadata(inference: Inference, name: str, version: str | None) -> dict[str, Any]:
    """The model's tensors; a feature's unit and rule are among its tensor's parameters.

    Raises
    ------
    HTTPException
        404 when there is no such model.
    ModelFileError
        While none serves.
    """
    stored = inference.asked(name, version).served.stored
    inputs = [
        {
            "name": feature.name,
            "datatype": datatype(feature),
            "shape": [-1],
            "parameters": {"rule": feature.bounds_text, "missing": feature.missing},
        }
        for feature in stored.model.study.features
    ]
    outputs = [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in OUTPUTS.items()]
    return {
        "name": stored.name,
        "versions": [served.stored.version for served in inference.versions],
        "platform": PLATFORM,
        "inputs": inputs,
        "outputs": outputs,
    }


class Infer:
    """``POST /v2/models/NAME[/versions/VERSION]/infer``."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.scoring = inference.scoring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = perf_counter()
        length, kind = header(scope, HEADER_LENGTH), media_type(scope)
        if not is_json(kind) and (length is None or kind != OCTETS):
            raise HTTPException(415, "send application/json")
        body = await read_body(scope, receive, self.scoring.limit)
        document, raw = self.answer(scope, *split_body(body, length))
        if raw:
            place = ((HEADER_LENGTH, b"%d" % len(document)),)
            await respond(send, document + raw, content_type=OCTETS, headers=place)
        else:
            await respond(send, document, content_type=JSON)
        self.scoring.observe(perf_counter() - began)

    def answer(self, scope: Scope, document: bytes, raw: bytes) -> tuple[bytes, bytes]:
        """Score one request: everything but HTTP."""
        named = scope["path_params"]
        asked = self.inference.asked(named["name"], named.get("version"))
        request = parse_request(document)
        names = wanted_outputs(output.name for output in request.outputs or ())
        tensors = tensors_of(request.inputs, raw)
        batch = self.inference.answer(asked, tensors, canary_key(scope), scope["request_id"])
        scope[SCORED] = (batch.model, len(batch.risks))
        return inference_response(request, batch, names)


def add_inference_protocol(
    app: FastAPI, scoring: PredictBatch, guard: Guard | None, lifecycle: Lifecycle
) -> None:
    """Add the protocol's paths; where keys are needed, inference asks for the scope ``batch``."""
    inference = Inference(scoring)
    endpoint = Infer(inference)
    guarded = endpoint if guard is None else Guarded(endpoint, guard, "batch")
    infer = Dialect(guarded, told, lifecycle)
    for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
        app.router.routes.append(Route(path, infer, methods=["POST"]))
    _add_health(app, inference, lifecycle)

    @app.get("/v2/models/{name}", summary="The model's tensors", tags=["inference protocol"])
    @app.get("/v2/models/{name}/versions/{version}", include_in_schema=False)
    async def metadata(name: str, version: str | None = None) -> Response:
        return _json(model_metadata(inference, name, version))

    @app.get("/v2/models/{name}/ready", summary="Does it serve?", tags=["inference protocol"])
    @app.get("/v2/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(name: str, version: str | None = None) -> Response:
        inference.asked(name, version)
        ready = not lifecycle.draining
        return _json({"name": name, "ready": ready}, 200 if ready else 503)


def _add_health(app: FastAPI, inference: Inference, lifecycle: Lifecycle) -> None:
    @app.get("/v2", summary="The server", tags=["inference protocol"])
    async def server() -> Response:
        return _json({"name": "fedrisk", "version": __version__, "extensions": EXTENSIONS})

    @app.get("/v2/health/live", summary="Is the process up?", tags=["inference protocol"])
    async def live() -> Response:
        return _json({"live": True})

    @app.get("/v2/health/ready", summary="Does a model serve?", tags=["inference protocol"])
    async def ready() -> Response:
        serves = inference.champion.served is not None and not lifecycle.draining
        return _json({"ready": serves}, 200 if serves else 503)


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
