"""Tensors of the Open Inference Protocol: one a feature, whichever transport brings them.

Numbers are ``FP64`` and NaN is missing, categories are ``BYTES`` and the empty text is missing; a
shape is ``[n]`` or ``[n, 1]``. A tensor's values come as a list, or as bytes: little-endian
doubles, and texts that each follow their length in four bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedrisk.errors import DataError, UsageError, Violation
from fedrisk.serving.request import UNKNOWN_RULE, RequestValidator, refusal, shown
from fedrisk.study import Feature, NumberFeature
from fedrisk.study.rules import NOT_MISSING

NUMBER, TEXT = "FP64", "BYTES"
OUTPUTS = {"risk_score": NUMBER, "risk_level": TEXT}
#: Violations that an error's text names; the rest are counted.
NAMED = 10
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input tensor.

    Attributes
    ----------
    name : str
    datatype : str
    shape : sequence of int
    data : list or bytes
        Its values, or all of them in bytes.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    data: list[Any] | bytes


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
    if not tensor.shape or len(tensor.shape) > 2 or tuple(tensor.shape[1:]) not in ((), (1,)):
        raise UsageError(f"tensor {tensor.name!r}: shape must be [n] or [n, 1]")
    data = tensor.data
    if isinstance(data, bytes):
        data = decode(tensor.name, wanted, data, tensor.shape[0])
    if len(data) != tensor.shape[0]:
        raise UsageError(f"tensor {tensor.name!r}: shape says {tensor.shape[0]}, data {len(data)}")
    if tensor.shape[1:] and all(isinstance(each, list) and len(each) == 1 for each in data):
        data = [each[0] for each in data]
    if wanted == TEXT:
        return [None if value == "" else value for value in data]
    return [None if isinstance(v, float) and math.isnan(v) else v for v in data]


def rows_of(tensors: Sequence[Tensor], validator: RequestValidator) -> list[dict[str, Any]]:
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
    for tensor in tensors:
        if tensor.shape and tensor.shape[0] > validator.most_rows:
            validator.check_count(tensor.shape[0])  # before anything is made of them
    features = {feature.name: feature for feature in validator.study.features}
    wrong = [_violation(shown(name), UNKNOWN_RULE) for name in named if name not in features]
    wrong += [
        _violation(feature.name, NOT_MISSING)
        for feature in features.values()
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


def wanted_outputs(asked: Iterable[str]) -> list[str]:
    """Names of the outputs that were asked for, all where none were.

    Raises
    ------
    UsageError
    """
    names = list(dict.fromkeys(asked))
    for name in names:
        if name not in OUTPUTS:
            raise UsageError(f"no output {shown(name)!r}; there are {' and '.join(OUTPUTS)}")
    return names or list(OUTPUTS)


def decode(name: str, kind: str, raw: bytes, count: int) -> list[Any]:
    """Values of a binary tensor.

    Parameters
    ----------
    name : str
        Of the tensor, for an error.
    kind : str
        ``FP64`` or ``BYTES``.
    raw : bytes
    count : int
        Values that there must be.

    Raises
    ------
    UsageError
        When there are others, or a text is not UTF-8.

    >>> decode("x", "BYTES", encode("BYTES", ["a", "b c"]), 2)
    ['a', 'b c']
    """
    if kind == NUMBER:
        if len(raw) != 8 * count:
            raise UsageError(f"tensor {name!r}: {count} doubles are {8 * count} bytes")
        numbers: list[Any] = np.frombuffer(raw, "<f8").tolist()
        return numbers
    return texts(name, _cut(name, raw, count))


def _cut(name: str, raw: bytes, count: int) -> list[bytes]:
    """Texts that each follow their length."""
    parts: list[bytes] = []
    place = 0
    while place + _LENGTH.size <= len(raw) and len(parts) < count:
        begin = place + _LENGTH.size
        place = begin + int(_LENGTH.unpack_from(raw, place)[0])
        parts.append(raw[begin:place])
    if place != len(raw) or len(parts) != count:
        raise UsageError(f"tensor {name!r}: its bytes are not {count} texts with their lengths")
    return parts


def texts(name: str, values: Sequence[bytes]) -> list[str]:
    """Texts of a tensor.

    Raises
    ------
    UsageError
        When one is not UTF-8.
    """
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        raise UsageError(f"tensor {name!r}: its texts are not UTF-8") from None


def encode(kind: str, values: Sequence[Any]) -> bytes:
    """Values as a binary tensor has them."""
    if kind == NUMBER:
        return np.asarray(values, "<f8").tobytes()
    parts = [value.encode() for value in values]
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


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
