"""The operations on jobs, as the OpenAPI document tells them."""

from __future__ import annotations

from typing import Any

from fedrisk.serving.openapi.operations import (
    EXPLAIN,
    KEY,
    PLAIN,
    REASONS,
    answer,
    content,
    identifier,
)
from fedrisk.serving.openapi.schemas import STRING, Schema, closed, reference, several

TAG = "jobs"
ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_NUMBER: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": ["string", "null"], "description": "ISO 8601"}
JOB: Schema = closed(
    {
        "id": ID,
        "state": {"enum": ["queued", "running", "done", "failed", "cancelled"]},
        "rows": _NUMBER,
        "bytes": closed({"read": _NUMBER, "total": _NUMBER}),
        "model": {"type": ["object", "null"]},
        "created": _TIME,
        "started": _TIME,
        "ended": _TIME,
        "kept_until": _TIME,
        "attempts": _NUMBER,
        "request_id": STRING,
        "replica": STRING,
        "result": {"type": ["string", "null"]},
        "error": {"type": ["object", "null"]},
    }
)


def operations() -> dict[str, dict[str, Any]]:
    """The operations by path and method."""
    rows = several(reference("Row"), 1)
    lines = {kind: {"schema": STRING} for kind in ("application/x-ndjson", "text/csv")}
    many = content({"anyOf": [rows, closed({"rows": rows})]}) | lines
    one = [{"name": "id", "in": "path", "required": True, "schema": ID}]
    job = content(reference("Job"))
    place = {"required": True, "schema": STRING}
    taking = ("400", "408", "413", "415")
    take = _operation(
        "Take a batch as a job", {"202": answer("taken", job, Location=place)}, (*taking, "507")
    )
    result = {
        "200": answer("the answer of a batch", lines | content({})),
        "206": answer("a part of it", lines | content({})),
    }
    ranges = {"text/plain": {"schema": STRING}}
    spoilt = {
        "400": answer("a range that is none", ranges),
        "416": answer("a range outside the result", ranges),
    }
    none = answer("cancelled, or deleted", {})
    listed = content(closed({"jobs": several(reference("Job"), 0)}))
    return {
        "/jobs": {
            "get": _operation("The caller's jobs", {"200": answer("told", listed)}),
            "post": take
            | {"parameters": [EXPLAIN], "requestBody": {"required": True, "content": many}},
        },
        "/jobs/{id}": {
            "get": _operation("A job", {"200": answer("told", job)}, ("404",), one),
            "delete": _operation("Cancel or delete a job", {"204": none}, ("404",), one),
        },
        "/jobs/{id}/result": {
            "get": _operation("A job's result", result | spoilt, ("404", "409", "421"), one)
        },
    }


_WHY = REASONS | {
    "404": "no such job of the caller's",
    "409": "not done",
    "421": "the result is at another replica",
    "507": "no room for jobs",
}


def _operation(
    summary: str,
    answers: dict[str, Any],
    reasons: tuple[str, ...] = (),
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    error = content(reference(PLAIN.error))
    told = {each: answer(_WHY[each], error) for each in (*reasons, "401", "403", "429", "503")}
    return {
        "summary": summary,
        "tags": [TAG],
        "operationId": identifier(summary),
        "parameters": parameters or [],
        "responses": dict(sorted((told | answers).items())),
        "security": [{}, {KEY: []}],
    }
