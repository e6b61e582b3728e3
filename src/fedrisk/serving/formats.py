"""Formats of a batch: JSON, one JSON object a line, CSV; answers come in the format asked with."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from fedrisk.errors import UsageError
from fedrisk.serving.explaining import Explanation
from fedrisk.serving.request import RequestValidator, Row
from fedrisk.study import CategoryFeature, Study
from fedrisk.study.values import LevelReader, number_or_text

NDJSON_TYPES = (b"application/x-ndjson", b"application/ndjson", b"application/jsonl")
CSV_TYPE = b"text/csv"


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Answers to a batch, row by row.

    Attributes
    ----------
    risks : list of float
    levels : list of str
    warnings : list of list
        Implausible values of each row.
    explanations : list of Explanation or None
        None where none were asked for.
    model : dict
        Name and version.
    request_id : str
    """

    risks: list[float]
    levels: list[str]
    warnings: list[list[dict[str, Any]]]
    explanations: list[Explanation] | None
    model: Mapping[str, str]
    request_id: str

    def rows(self) -> list[dict[str, Any]]:
        """Each row's answer as JSON values."""
        answers: list[dict[str, Any]] = [
            {"risk_score": risk, "risk_level": level, "warnings": warnings}
            for risk, level, warnings in zip(self.risks, self.levels, self.warnings, strict=True)
        ]
        if self.explanations is not None:
            for answer, explanation in zip(answers, self.explanations, strict=True):
                answer.update(explanation.document())
        return answers


class JsonFormat:
    """A list of objects, or ``{"rows": [...]}``."""

    content_type = b"application/json"

    def read(self, body: bytes, validator: RequestValidator) -> Sequence[Row]:
        return validator.rows(body)

    def write(self, batch: ScoredBatch) -> bytes:
        answer = {"predictions": batch.rows(), "model": batch.model}
        return orjson.dumps(answer | {"request_id": batch.request_id})


class NdjsonFormat:
    """One JSON object a line."""

    content_type = b"application/x-ndjson"

    def read(self, body: bytes, validator: RequestValidator) -> Sequence[Row]:
        return validator.lines(body.rstrip(b"\r\n").split(b"\n") if body.strip() else [])

    def write(self, batch: ScoredBatch) -> bytes:
        return b"".join(orjson.dumps(row) + b"\n" for row in batch.rows())


class CsvFormat:
    """Comma-separated values with a header; empty and ``NA`` are missing."""

    content_type = b"text/csv; charset=utf-8"

    def read(self, body: bytes, validator: RequestValidator, first: int = 1) -> Sequence[Row]:
        """Rows of a body, or of a part of one whose first row has another number."""
        return validator.records(csv_records(body, validator.study, first), first)

    def write(self, batch: ScoredBatch) -> bytes:
        return self.text(batch)

    def text(self, batch: ScoredBatch, *, header: bool = True) -> bytes:
        """The answer, or without a header a later part of one."""
        text = io.StringIO()
        rows = [_flat(row) for row in batch.rows()]
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()


Format = JsonFormat | NdjsonFormat | CsvFormat


def batch_format(media_type: bytes) -> Format | None:
    """The format of a content type, None where it is not taken."""
    if media_type == CSV_TYPE:
        return CsvFormat()
    if media_type in NDJSON_TYPES:
        return NdjsonFormat()
    return JsonFormat() if is_json(media_type) else None


def is_json(media_type: bytes) -> bool:
    """Whether a content type is JSON.

    >>> is_json(b"application/json"), is_json(b"application/vnd.x+json"), is_json(b"text/plain")
    (True, True, False)
    """
    return media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )


def csv_records(body: bytes, study: Study, first: int = 1) -> list[dict[str, Any]]:
    """Rows of a CSV text: numbers where a feature is one, None where a value is missing.

    ``first`` is the number of the first row, for errors.

    Raises
    ------
    UsageError
        When the text is not UTF-8 or not CSV, a column comes twice, or a row has another length.
    """
    try:
        text = body.decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except UnicodeDecodeError:
        raise UsageError("the body is not UTF-8 text") from None
    except csv.Error as error:
        raise UsageError(f"the body is not valid CSV: {error}") from None
    if not lines:
        raise UsageError("the body has no header")
    names = lines[0]
    if len(set(names)) < len(names):
        raise UsageError("the header names a column twice")
    records = [line for line in lines[1:] if line]
    for number, record in enumerate(records, start=first):
        if len(record) != len(names):
            raise UsageError(f"row {number} has {len(record)} fields, the header {len(names)}")
    readers = [_reader(study, name) for name in names]
    return [
        {name: read(value) for name, read, value in zip(names, readers, record, strict=True)}
        for record in records
    ]


def _reader(study: Study, name: str) -> Callable[[str], Any]:
    """How a column's text is read; of a column that is no feature, the check will tell."""
    feature = next((f for f in study.features if f.name == name), None)
    if isinstance(feature, CategoryFeature):
        return LevelReader(feature.levels).level_or_text
    return number_or_text


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row's answer as CSV fields: a column for each bound and each contribution."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key == "interval":
            flat["interval_low"], flat["interval_high"] = value
        elif key == "contributions":
            flat.update({f"contribution:{name}": effect for name, effect in value.items()})
        elif key == "warnings":
            flat[key] = " ".join(warning["field"] for warning in value)
        else:
            flat[key] = value
    return flat
