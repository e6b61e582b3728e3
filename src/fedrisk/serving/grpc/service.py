"""The six methods of the service, under the rules of the HTTP endpoints.

A call of ModelInfer becomes a request as the other endpoints get theirs, its metadata the headers,
and passes the same code: identifiers, keys, limits, figures, journal. An error's status is the one
that its HTTP status means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import grpc
import orjson
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from fedrisk import __version__
from fedrisk.errors import FedriskError
from fedrisk.serving.grpc import messages
from fedrisk.serving.grpc.generated import inference_pb2 as pb
from fedrisk.serving.inference import Asked, Door
from fedrisk.serving.journal import SCORED
from fedrisk.serving.predict import canary_key
from fedrisk.serving.tensors import wanted_outputs
from fedrisk.serving.transport import answer_to, read_body, respond

SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"
PROTOBUF = b"application/x-protobuf"
#: What HTTP statuses are in gRPC; what is not here is INTERNAL.
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
#: Headers that an answer's trailing metadata has too.
TOLD = (b"x-request-id", b"retry-after", b"www-authenticate")

Context = Any  # grpc.aio.ServicerContext: grpcio has no types
Handler = Callable[[Any, Context], Awaitable[Any]]


class InferenceService:
    """The methods, each from a request and gRPC's context to an answer.

    Parameters
    ----------
    door : Door
    """

    def __init__(self, door: Door) -> None:
        self.door = door
        self.inference = door.inference
        self._endpoint = door.behind(self._infer)

    async def server_live(self, _: pb.ServerLiveRequest, __: Context) -> pb.ServerLiveResponse:
        """Whether the process is up."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _: pb.ServerReadyRequest, __: Context) -> pb.ServerReadyResponse:
        """Whether a model serves, and will go on to."""
        return pb.ServerReadyResponse(ready=self._ready)

    async def server_metadata(
        self, _: pb.ServerMetadataRequest, __: Context
    ) -> pb.ServerMetadataResponse:
        """Name and version."""
        return pb.ServerMetadataResponse(name="fedrisk", version=__version__)

    async def model_ready(
        self, request: pb.ModelReadyRequest, context: Context
    ) -> pb.ModelReadyResponse:
        """Whether this model serves."""
        if self._ready:
            await self._asked(request, context)
        return pb.ModelReadyResponse(ready=self._ready)

    async def model_metadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """The model's tensors."""
        asked = await self._asked(request, context)
        return messages.metadata(asked.served, self.inference.versions)

    async def model_infer(self, body: bytes, context: Context) -> bytes:
        """Scores: from the bytes of a request to those of a response."""
        answer = Answer()
        scope = scope_of(context.invocation_metadata() or ())
        await self._endpoint(scope, body_of(body), answer.take)
        if answer.status < 400:
            context.set_trailing_metadata(answer.metadata())
            return answer.body
        text = orjson.loads(answer.body)["error"]
        await context.abort(code_of(answer.status), text, answer.metadata())
        raise AssertionError  # abort never returns

    @property
    def _ready(self) -> bool:
        serves = self.inference.champion.served is not None
        return serves and not self.door.lifecycle.draining

    async def _asked(self, request: Any, context: Context) -> Asked:
        """The model of a request's name and version."""
        try:
            return self.inference.asked(request.name, request.version)
        except (HTTPException, FedriskError) as error:
            status, document = answer_to(error, "")
            text = document["error"]
        await context.abort(code_of(status), text)
        raise AssertionError  # abort never returns

    async def _infer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Score one request: everything but gRPC."""
        began = perf_counter()
        scoring = self.inference.scoring
        request = messages.parse(await read_body(scope, receive, scoring.limit))
        asked = self.inference.asked(request.model_name, request.model_version)
        names = wanted_outputs(output.name for output in request.outputs)
        tensors = messages.tensors_of(request)
        batch = self.inference.answer(asked, tensors, canary_key(scope), scope["request_id"])
        scope[SCORED] = (batch.model, len(batch.risks))
        answer = messages.response(request, batch, names).SerializeToString()
        await respond(send, answer, content_type=PROTOBUF)
        scoring.observe(perf_counter() - began)


class Answer:
    """What an endpoint sends."""

    def __init__(self) -> None:
        self.status = 500
        self.body = b""
        self._headers: list[tuple[bytes, bytes]] = []

    async def take(self, message: Message) -> None:
        """Take one message of it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._headers = list(message["headers"])
        else:
            self.body += message.get("body", b"")

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Headers that the caller is told."""
        return tuple((k.decode(), v.decode("latin-1")) for k, v in self._headers if k in TOLD)


def code_of(status: int) -> grpc.StatusCode:
    """The code that an HTTP status is in gRPC."""
    return CODES.get(status, grpc.StatusCode.INTERNAL)


def scope_of(metadata: Any) -> dict[str, Any]:
    """A call's metadata as the scope of a request.

    >>> scope_of([("authorization", "Bearer k")])["headers"]
    [(b'authorization', b'Bearer k')]
    """
    headers = [
        (key.encode(), value if isinstance(value, bytes) else value.encode())
        for key, value in metadata
    ]
    about = {"type": "http", "method": "POST", "path": INFER, "query_string": b""}
    return {**about, "headers": headers}


def body_of(body: bytes) -> Receive:
    """What hands a whole body to an endpoint."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def handlers(service: InferenceService) -> Any:
    """The service's methods as gRPC calls them."""

    def unary(handler: Handler, request: Any, answer: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            handler, request.FromString, answer.SerializeToString
        )

    methods = {
        "ServerLive": unary(service.server_live, pb.ServerLiveRequest, pb.ServerLiveResponse),
        "ServerReady": unary(service.server_ready, pb.ServerReadyRequest, pb.ServerReadyResponse),
        "ModelReady": unary(service.model_ready, pb.ModelReadyRequest, pb.ModelReadyResponse),
        "ServerMetadata": unary(
            service.server_metadata, pb.ServerMetadataRequest, pb.ServerMetadataResponse
        ),
        "ModelMetadata": unary(
            service.model_metadata, pb.ModelMetadataRequest, pb.ModelMetadataResponse
        ),
        # Bytes in and out: what is no request is the caller's fault, and told as such.
        "ModelInfer": grpc.unary_unary_rpc_method_handler(service.model_infer),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)
