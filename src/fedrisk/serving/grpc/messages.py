"""From the protocol's messages to tensors, and back."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from fedrisk.errors import UsageError
from fedrisk.serving.champion import ServedModel
from fedrisk.serving.formats import ScoredBatch
from fedrisk.serving.grpc.generated import inference_pb2 as pb
from fedrisk.serving.inference import PLATFORM, output_data
from fedrisk.serving.tensors import NUMBER, OUTPUTS, TEXT, Tensor, datatype, encode, texts


def parse(body: bytes) -> pb.ModelInferRequest:
    """The request in a message's bytes.

    Raises
    ------
    UsageError
        When they are not a request; left to gRPC this would be told as a fault of the server.
    """
    try:
        request: pb.ModelInferRequest = pb.ModelInferRequest.FromString(body)
    except DecodeError:
        raise UsageError("the message is not a ModelInferRequest") from None
    return request


def tensors_of(request: pb.ModelInferRequest) -> list[Tensor]:
    """The input tensors, from their contents or from the raw ones.

    Raises
    ------
    UsageError
        When there are both, or not as many raw ones as inputs.
    """
    raw = request.raw_input_contents
    if not raw:
        return [_typed(each) for each in request.inputs]
    if len(raw) != len(request.inputs):
        raise UsageError(f"{len(request.inputs)} inputs have {len(raw)} raw_input_contents")
    if any(each.HasField("contents") for each in request.inputs):
        raise UsageError("contents and raw_input_contents exclude each other")
    return [
        Tensor(each.name, each.datatype, list(each.shape), content)
        for each, content in zip(request.inputs, raw, strict=True)
    ]


def _typed(each: pb.ModelInferRequest.InferInputTensor) -> Tensor:
    values: Sequence[float | str] = ()
    if each.datatype == NUMBER:
        values = each.contents.fp64_contents
    elif each.datatype == TEXT:
        values = texts(each.name, each.contents.bytes_contents)
    return Tensor(each.name, each.datatype, list(each.shape), list(values))


def response(
    request: pb.ModelInferRequest, batch: ScoredBatch, names: Sequence[str]
) -> pb.ModelInferResponse:
    """The answer, in raw contents where the request had them."""
    model, version = batch.model["name"], batch.model["version"]
    answer = pb.ModelInferResponse(model_name=model, model_version=version, id=request.id)
    for name, values in output_data(batch, names).items():
        output = answer.outputs.add(name=name, datatype=OUTPUTS[name], shape=[len(values)])
        if request.raw_input_contents:
            answer.raw_output_contents.append(encode(OUTPUTS[name], values))
        elif OUTPUTS[name] == NUMBER:
            output.contents.fp64_contents.extend(values)
        else:
            output.contents.bytes_contents.extend(str(value).encode() for value in values)
    return answer


def metadata(served: ServedModel, versions: Sequence[ServedModel]) -> pb.ModelMetadataResponse:
    """The tensors of a model."""
    answer = pb.ModelMetadataResponse(name=served.stored.name, platform=PLATFORM)
    answer.versions.extend(each.stored.version for each in versions)
    for feature in served.stored.model.study.features:
        answer.inputs.add(name=feature.name, datatype=datatype(feature), shape=[-1])
    for name, kind in OUTPUTS.items():
        answer.outputs.add(name=name, datatype=kind, shape=[-1])
    return answer
