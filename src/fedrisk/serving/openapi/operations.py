"""The API's operations: what each takes, and every status that it answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fedrisk.serving.openapi.schemas import BOOLEAN, STRING, Schema, closed, reference, several

JSON = "application/json"
#: JSON with tensors' bytes behind it.
OCTETS = "application/octet-stream"
FHIR_JSON = "application/fhir+json"
#: Name of the way in which callers prove who they are.
KEY = "key"
REQUEST_ID: Schema = {
    "description": "the request's own, or a new one",
    "required": True,
    "schema": STRING,
}
#: What any operation that scores may answer beside 200.
REASONS = {
    "400": "malformed, or a query that is not understood",
    "401": "without a valid key, where keys are needed",
    "403": "the key is not for this",
    "408": "the body took too long",
    "413": "too large",
    "415": "a content type that is not taken",
    "422": "values that break the study",
    "429": "more than the key allows; Retry-After says when to come again",
    "503": "no model serves, or the server is late",
}


@dataclass(frozen=True)
class Dialect:
    """How a group of operations tells errors.

    Attributes
    ----------
    tag : str
    error : str
        Name of the schema of an error.
    content_type : str
    """

    tag: str
    error: str
    content_type: str = JSON


PLAIN = Dialect("risk", "Error")
INFERENCE = Dialect("inference protocol", "InferenceError")
FHIR = Dialect("FHIR", "OperationOutcome", FHIR_JSON)
CDS = Dialect("CDS Hooks", "HookError")


def identifier(summary: str) -> str:
    """A name for programs.

    >>> identifier("The model's tensors")
    'the_models_tensors'
    """
    return re.sub(r"[^a-z ]", "", summary.lower().replace("-", " ")).replace(" ", "_")


def content(schema: Schema, kind: str = JSON) -> dict[str, Any]:
    """A body of one content type."""
    return {kind: {"schema": schema}}


def answer(why: str, bodies: dict[str, Any], **headers: Schema) -> dict[str, Any]:
    """One answer, with its headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"description": why, "headers": {"X-Request-ID": REQUEST_ID, **named}, "content": bodies}


def in_path(values: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Parameters of a path; where something serves, the one value that is known."""
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": STRING | ({"enum": list(known)} if known else {}),
        }
        for name, known in values.items()
    ]


def post(
    summary: str,
    takes: dict[str, Any],
    answers: dict[str, Any],
    dialect: Dialect,
    parameters: list[dict[str, Any]],
    **headers: Schema,
) -> dict[str, Any]:
    """An operation that scores."""
    named = any(each["in"] == "path" for each in parameters)
    reasons = REASONS | ({"404": "another name than the one that serves"} if named else {})
    error = content(reference(dialect.error), dialect.content_type)
    return {
        "summary": summary,
        "tags": [dialect.tag],
        "operationId": identifier(summary),
        "parameters": parameters,
        "requestBody": {"required": True, "content": takes},
        "responses": {
            "200": answer("scored", answers, **headers),
            **{status: answer(why, error) for status, why in sorted(reasons.items())},
        },
        "security": [{}, {KEY: []}],
    }


EXPLAIN = {
    "name": "explain",
    "in": "query",
    "description": "also answer the interval and each feature's contribution",
    "schema": BOOLEAN | {"default": False},
}


def scoring(model: tuple[str, ...], service: tuple[str, ...]) -> dict[str, Any]:
    """The operations that score, by path.

    Parameters
    ----------
    model, service : tuple of str
        Name and version of the model that serves, name of its study; empty while none does.
    """
    rows = several(reference("Row"), 1)
    many = content({"anyOf": [rows, closed({"rows": rows})]})
    lines = {kind: {"schema": STRING} for kind in ("application/x-ndjson", "text/csv")}
    scored = content(reference("Predictions")) | lines
    version = {"required": True, "schema": STRING}
    names, versions = {"name": model[:1]}, {"name": model[:1], "version": model[1:]}
    octets = {OCTETS: {"schema": {"type": "string", "format": "binary"}}}
    tensors = (
        content(reference("InferenceRequest")) | octets,
        content(reference("InferenceResponse")) | octets,
    )
    patient = content(reference("PatientData"), FHIR_JSON)
    assessment = content(reference("RiskAssessment"), FHIR_JSON)
    hook = (content(reference("HookRequest")), content(reference("HookCards")))
    one = (content(reference("Row")), content(reference("Prediction")))
    return {
        "/predict": post("Score one row", *one, PLAIN, [EXPLAIN]),
        "/predict/batch": post(
            "Score many rows", many | lines, scored, PLAIN, [EXPLAIN], X_Model_Version=version
        ),
        "/v2/models/{name}/infer": post("Score tensors", *tensors, INFERENCE, in_path(names)),
        "/v2/models/{name}/versions/{version}/infer": post(
            "Score tensors by a version", *tensors, INFERENCE, in_path(versions)
        ),
        "/fhir/RiskAssessment": post("A RiskAssessment of a Bundle", patient, assessment, FHIR, []),
        "/cds-services/{service}": post(
            "A card with the risk", *hook, CDS, in_path({"service": service})
        ),
    }


def get(
    summary: str,
    tag: str,
    answers: Mapping[str, tuple[str, dict[str, Any]]],
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """An operation that tells; ``answers`` says of each status why and with which body."""
    return {
        "summary": summary,
        "tags": [tag],
        "operationId": identifier(summary),
        "parameters": parameters or [],
        "responses": {status: answer(why, body) for status, (why, body) in answers.items()},
    }


def guarded(operation: dict[str, Any]) -> dict[str, Any]:
    """An operation that tells what not everybody may know."""
    error = content(reference(PLAIN.error))
    refusals = {status: answer(REASONS[status], error) for status in ("401", "403", "429")}
    answers = dict(sorted((operation["responses"] | refusals).items()))
    return operation | {"responses": answers, "security": [{}, {KEY: []}]}


def telling(model: tuple[str, ...]) -> dict[str, Any]:
    """The operations that tell of the server and its model, by path."""

    def told(name: str) -> dict[str, Any]:
        return content(reference(name))

    said = {"200": ("told", told("Model")), "503": ("no model serves", told("Error"))}
    ready = {"200": ("it does", told("Ready")), "503": ("not now", told("NotReady"))}
    return {
        "/health": get(
            "Is the process up?",
            "operation",
            {"200": ("it is", content(closed({"status": {"const": "live"}})))},
        ),
        "/ready": get("Has a model answered its self-test, and which?", "operation", ready),
        "/metrics": guarded(
            get(
                "Figures for Prometheus",
                "operation",
                {"200": ("figures", content(STRING, "text/plain"))},
            )
        ),
        "/trial": guarded(
            get("How the challenger does beside the champion", "operation", _tried(told))
        ),
        "/model": guarded(
            get("The model that serves, its study and its metrics", "operation", said)
        ),
        "/cds-services": get(
            "CDS Hooks services", CDS.tag, {"200": ("listed", told("HookServices"))}
        ),
        **_inference_protocol(model),
    }


def _tried(told: Callable[[str], dict[str, Any]]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        "200": ("figures of all workers", told("Trial")),
        "404": ("nothing is tried, or there is no challenger", told("Error")),
        "409": ("the challenger is refused, or cannot be compared", told("Error")),
        "503": ("no model serves", told("Error")),
    }


def _inference_protocol(model: tuple[str, ...]) -> dict[str, Any]:
    tag = INFERENCE.tag
    live = content(closed({"live": {"const": True}}))
    serves = content(closed({"ready": BOOLEAN}))
    server = content(reference("InferenceServer"))
    found = {
        "/v2": get("The server", tag, {"200": ("told", server)}),
        "/v2/health/live": get("Does the server live?", tag, {"200": ("it does", live)}),
        "/v2/health/ready": get(
            "Does a model serve?", tag, {"200": ("it does", serves), "503": ("not now", serves)}
        ),
    }
    named = closed({"name": STRING, "ready": BOOLEAN})
    error = content(reference("Error"))
    unknown = {"404": ("another name than the one that serves", error)}
    tensors = {"200": ("told", content(reference("InferenceModel"))), **unknown}
    tensors |= {"503": ("no model serves", error)}
    ready = {"200": ("it does", content(named)), **unknown}
    ready |= {"503": ("not now", content({"anyOf": [named, reference("Error")]}))}
    places = {
        "/v2/models/{name}": ("", in_path({"name": model[:1]})),
        "/v2/models/{name}/versions/{version}": (
            " of a version",
            in_path({"name": model[:1], "version": model[1:]}),
        ),
    }
    for path, (which, parameters) in places.items():
        found[path] = get(f"The model's tensors{which}", tag, tensors, parameters)
        found[f"{path}/ready"] = get(f"Does the model{which} serve?", tag, ready, parameters)
    return found
