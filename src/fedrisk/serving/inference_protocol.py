"""Open Inference Protocol, version 2, over REST: one tensor a feature in, scores and levels out.

Numbers are ``FP64`` and NaN is missing, categories are ``BYTES`` and the empty text is missing; a
shape is ``[n]`` or ``[n, 1]``. Binary tensors are an extension of the protocol that is not offered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fedrisk import __version__
from fedrisk.errors import DataError, UsageError, Violation
from fedrisk.serving.access import Guard, Guarded
from fedrisk.serving.champion import Champion, ServedModel
from fedrisk.serving.dialect import Dialect
from fedrisk.serving.formats import ScoredBatch, is_json
from fedrisk.serving.journal import SCORED
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.predict import PredictBatch
from fedrisk.serving.request import UNKNOWN_RULE, Row, refusal, shown
from fedrisk.serving.transport import header, media_type, read_body, respond
from fedrisk.study import Feature, NumberFeature, Study
from fedrisk.study.rules import NOT_MISSING

#: What the figures count inference under.
INFER = "/v2/infer"
NUMBER, TEXT = "FP64", "BYTES"
OUTPUTS = {"risk_score": NUMBER, "risk_level": TEXT}
PLATFORM = "fedrisk_logistic"
#: Violations that an error's text names; the rest are counted.
NAMED = 10


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class Tensor(_Part):
    """One input tensor."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class RequestedOutput(_Part):
    """One output that is wanted."""

    name: str


class InferenceRequest(_Part):
    """A request; parameters are taken and not looked at, as the protocol allows."""

    id: str | None = None
    inputs: list[Tensor]
    outputs: list[RequestedOutput] | None = None


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


def datatype(feature: Feature) -> str:
    """The protocol's name for what a feature holds."""
    return NUMBER if isinstance(feature, NumberFeature) else TEXT


def tensor_values(tensor: Tensor, feature: Feature) -> list[Any]:
    """A tensor's values as `/predict` takes them, None where missing.

    Raises
    ------
    UsageError
        When datatype, shape and data do not fit together.
    """
    wanted = datatype(feature)
    if tensor.datatype != wanted:
        raise UsageError(f"tensor {tensor.name!r}: datatype must be {wanted}")
    if not tensor.shape or len(tensor.shape) > 2 or tensor.shape[1:] not in ([], [1]):
        raise UsageError(f"tensor {tensor.name!r}: shape must be [n] or [n, 1]")
    data = tensor.data
    if len(data) != tensor.shape[0]:
        raise UsageError(f"tensor {tensor.name!r}: shape says {tensor.shape[0]}, data {len(data)}")
    if tensor.shape[1:] and all(isinstance(each, list) and len(each) == 1 for each in data):
        data = [each[0] for each in data]
    if wanted == TEXT:
        return [None if value == "" else value for value in data]
    return [None if isinstance(v, float) and math.isnan(v) else v for v in data]


def rows_of(tensors: Sequence[Tensor], study: Study) -> list[dict[str, Any]]:
    """Rows from one tensor a feature; they are not checked against the study's bounds yet.

    Raises
    ------
    UsageError
        When tensors do not fit together.
    DataError
        When one is no feature, or a feature that must be there has none.
    """
    named = {tensor.name: tensor for tensor in tensors}
    if len(named) < len(tensors):
        raise UsageError("a tensor comes twice")
    features = {feature.name: feature for feature in study.features}
    wrong = [_violation(shown(name), UNKNOWN_RULE) for name in named if name not in features]
    wrong += [
        _violation(feature.name, NOT_MISSING)
        for feature in study.features
        if feature.missing == "reject" and feature.name not in named
    ]
    if wrong:
        raise refusal(wrong, len(wrong))
    columns = {name: tensor_values(tensor, features[name]) for name, tensor in named.items()}
    if len({len(column) for column in columns.values()}) > 1:
        raise UsageError("tensors have different numbers of rows")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _violation(name: Any, rule: str) -> Violation:
    return Violation("request", None, str(name), None, rule)


def wanted_outputs(request: InferenceRequest) -> list[str]:
    """Names of the outputs that were asked for, all where none were.

    Raises
    ------
    UsageError
    """
    names = list(dict.fromkeys(output.name for output in request.outputs or ()))
    for name in names:
        if name not in OUTPUTS:
            raise UsageError(f"no output {shown(name)!r}; there are {' and '.join(OUTPUTS)}")
    return names or list(OUTPUTS)


def inference_response(
    request: InferenceRequest, batch: ScoredBatch, names: Sequence[str]
) -> dict[str, Any]:
    """The answer to a request."""
    data: dict[str, list[Any]] = {"risk_score": batch.risks, "risk_level": batch.levels}
    model = {"model_name": batch.model["name"], "model_version": batch.model["version"]}
    echoed = {} if request.id is None else {"id": request.id}
    outputs = [
        {"name": n, "datatype": OUTPUTS[n], "shape": [len(data[n])], "data": data[n]} for n in names
    ]
    return {**model, **echoed, "outputs": outputs}


def model_metadata(served: ServedModel) -> dict[str, Any]:
    """The model's tensors; a feature's unit and rule are among its tensor's parameters."""
    inputs = [
        {
            "name": feature.name,
            "datatype": datatype(feature),
            "shape": [-1],
            "parameters": {"rule": feature.bounds_text, "missing": feature.missing},
        }
        for feature in served.stored.model.study.features
    ]
    outputs = [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in OUTPUTS.items()]
    stored = served.stored
    return {
        "name": stored.name,
        "versions": [stored.version],
        "platform": PLATFORM,
        "inputs": inputs,
        "outputs": outputs,
    }


def told(error: Exception, _: int, document: dict[str, Any]) -> dict[str, Any]:
    """An error as the protocol has it; values that break the study by tensor and row."""
    if not isinstance(error, DataError):
        return {"error": document["error"]}
    places = [_place(violation) for violation in error.violations[:NAMED]]
    more = [] if error.total <= len(places) else [f"and {error.total - len(places)} more"]
    return {"error": "; ".join([*places, *more])}


def _place(violation: Violation) -> str:
    row = "" if violation.row is None else f", row {violation.row}"
    return f"tensor {violation.column!r}{row}: {violation.rule}"


def named_model(champion: Champion, name: str, version: str | None) -> ServedModel:
    """The model that serves, if it is the one named.

    Raises
    ------
    HTTPException
        404 when it is another one.
    ModelFileError
        While none serves.
    """
    served = champion.require()
    if name != served.stored.name:
        raise HTTPException(404, "no such model; GET /model tells which one serves")
    if version is not None and version != served.stored.version:
        raise HTTPException(404, f"this version does not serve, {served.stored.version} does")
    return served


class Infer:
    """``POST /v2/models/NAME[/versions/VERSION]/infer``."""

    def __init__(self, champion: Champion, scoring: PredictBatch) -> None:
        self.champion = champion
        self.scoring = scoring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = perf_counter()
        if header(scope, b"inference-header-content-length") is not None:
            raise UsageError("binary tensors are not taken; send tensors as JSON")
        if not is_json(media_type(scope)):
            raise HTTPException(415, "send application/json")
        named = scope["path_params"]
        served = named_model(self.champion, named["name"], named.get("version"))
        body = await read_body(scope, receive, self.scoring.limit)
        await respond(send, self.answer(body, served, scope))
        self.scoring.observe(perf_counter() - began)

    def answer(self, body: bytes, served: ServedModel, scope: Scope) -> bytes:
        """Score one request: everything but HTTP."""
        request = parse_request(body)
        names = wanted_outputs(request)
        rows: Sequence[Row] = rows_of(request.inputs, served.validator.study)
        rows = served.validator.records(rows)
        batch = self.scoring.score(served, rows, False, scope["request_id"])
        scope[SCORED] = (batch.model, len(rows))
        return orjson.dumps(inference_response(request, batch, names))


def add_inference_protocol(
    app: FastAPI, scoring: PredictBatch, guard: Guard | None, lifecycle: Lifecycle
) -> None:
    """Add the protocol's paths; where keys are needed, inference asks for the scope ``batch``."""
    champion = scoring.champion
    endpoint = Infer(champion, scoring)
    guarded = endpoint if guard is None else Guarded(endpoint, guard, "batch")
    infer = Dialect(guarded, told, lifecycle)
    for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
        app.router.routes.append(Route(path, infer, methods=["POST"]))
    _add_health(app, champion, lifecycle)

    @app.get("/v2/models/{name}", summary="The model's tensors", tags=["inference protocol"])
    @app.get("/v2/models/{name}/versions/{version}", include_in_schema=False)
    async def metadata(name: str, version: str | None = None) -> Response:
        return _json(model_metadata(named_model(champion, name, version)))

    @app.get("/v2/models/{name}/ready", summary="Does it serve?", tags=["inference protocol"])
    @app.get("/v2/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(name: str, version: str | None = None) -> Response:
        named_model(champion, name, version)
        ready = not lifecycle.draining
        return _json({"name": name, "ready": ready}, 200 if ready else 503)


def _add_health(app: FastAPI, champion: Champion, lifecycle: Lifecycle) -> None:
    @app.get("/v2", summary="The server", tags=["inference protocol"])
    async def server() -> Response:
        return _json({"name": "fedrisk", "version": __version__, "extensions": []})

    @app.get("/v2/health/live", summary="Is the process up?", tags=["inference protocol"])
    async def live() -> Response:
        return _json({"live": True})

    @app.get("/v2/health/ready", summary="Does a model serve?", tags=["inference protocol"])
    async def ready() -> Response:
        serves = champion.served is not None and not lifecycle.draining
        return _json({"ready": serves}, 200 if serves else 503)


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
