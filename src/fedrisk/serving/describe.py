"""The served model in words and in OpenAPI: features with units and bounds, bands, metrics."""

from __future__ import annotations

from typing import Any

from fedrisk.serving.champion import ServedModel
from fedrisk.study import Feature, NumberFeature, Study


def describe_model(served: ServedModel) -> dict[str, Any]:
    """What ``GET /model`` answers: readable, complete, nothing of any person."""
    stored, model = served.stored, served.stored.model
    study, about = model.study, dict(model.about)
    return {
        "name": stored.name,
        "version": stored.version,
        "run_id": stored.run_id,
        "digest": stored.digest,
        "created": about.get("created"),
        "loaded_at": served.loaded_at.isoformat(timespec="seconds"),
        "study": {
            "name": study.name,
            "title": study.title,
            "hash": study.hash,
            "label": study.label,
            "horizon": study.horizon,
            "bands": study.bands.model_dump(),
            "features": [feature.model_dump(mode="json") for feature in study.features],
        },
        "metrics": about.get("metrics", {}),
        "about": about,
        "intercept": model.intercept,
        "columns": model.document()["columns"],
    }


def feature_json_schema(feature: Feature) -> dict[str, Any]:
    """JSON Schema of a feature's value, its unit and rule in the description.

    >>> age = NumberFeature(name="age", unit="year", minimum=0, maximum=120)
    >>> feature_json_schema(age)["description"]
    'must be between 0 and 120 year'
    """
    schema: dict[str, Any] = {"description": feature.bounds_text}
    if isinstance(feature, NumberFeature):
        bounds = {"minimum": feature.minimum, "maximum": feature.maximum}
        schema |= {"type": "number", **{k: v for k, v in bounds.items() if v is not None}}
        if feature.unit:
            schema["x-unit"] = feature.unit
        if feature.plausible is not None:
            schema["x-plausible"] = list(feature.plausible)
    else:
        schema |= {"type": "string", "enum": list(feature.levels)}
    if feature.missing == "allow":
        schema["type"] = [schema["type"], "null"]
        schema["description"] += "; null or absent where missing"
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema


def row_json_schema(study: Study, example: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of a request's row."""
    return {
        "type": "object",
        "title": study.title or study.name,
        "properties": {f.name: feature_json_schema(f) for f in study.features},
        "required": [f.name for f in study.features if f.missing == "reject"],
        "additionalProperties": False,
        "examples": [example],
    }


def _prediction_schema() -> dict[str, Any]:
    problem = {
        "type": "object",
        "properties": {
            "row": {"type": "integer", "description": "of a batch, the first is 1"},
            "field": {"type": ["string", "null"]},
            "value": {},
            "rule": {"type": "string"},
        },
    }
    text = {"type": "string"}
    risk = {"type": "number", "minimum": 0, "maximum": 1}
    score = {
        "risk_score": risk,
        "risk_level": {"type": "string", "enum": ["low", "medium", "high"]},
        "warnings": {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}},
        "interval": {
            "type": "array",
            "items": risk,
            "description": "95 % credible interval; only with explain=true",
        },
        "intercept": {"type": "number", "description": "log-odds; only with explain=true"},
        "contributions": {
            "type": "object",
            "additionalProperties": {"type": "number"},
            "description": "log-odds by feature, with the intercept they sum to the score's; "
            "only with explain=true",
        },
    }
    model = {"type": "object", "properties": {"name": text, "version": text}}
    answered = {"model": model, "request_id": text}
    error = {
        "error": text,
        "hint": text,
        "detail": {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}},
        "total": {"type": "integer"},
        "request_id": text,
    }
    return {
        "Problem": problem,
        "Score": {"type": "object", "properties": score},
        "Prediction": {"type": "object", "properties": score | answered},
        "Error": {"type": "object", "properties": error},
        "Predictions": {
            "type": "object",
            "properties": {
                "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Score"}},
                **answered,
            },
        },
    }


def openapi(base: dict[str, Any], served: ServedModel | None) -> dict[str, Any]:
    """Add the scoring endpoints, as the served study has them, to the app's own document."""
    row: dict[str, Any] = {"type": "object", "description": "known once a model serves"}
    if served is not None:
        study = served.stored.model.study
        row = row_json_schema(study, served.stored.checks[0]["row"])
    reference = {"$ref": "#/components/schemas/Row"}
    rows = {"type": "array", "items": reference}
    wrapped = {"type": "object", "properties": {"rows": rows}, "required": ["rows"]}
    one = {"application/json": {"schema": reference}}
    many = {
        "application/json": {"schema": {"anyOf": [rows, wrapped]}},
        "application/x-ndjson": {"schema": {"type": "string"}},
        "text/csv": {"schema": {"type": "string"}},
    }
    paths = {
        "/predict": {"post": _operation("Score one row", one, "Prediction")},
        "/predict/batch": {"post": _operation("Score many rows", many, "Predictions")},
        **_protocols(),
    }
    components = dict(base.get("components", {}))
    schemas = {**components.get("schemas", {}), **_prediction_schema(), "Row": row}
    return base | {
        "paths": {**paths, **base.get("paths", {})},
        "components": components | {"schemas": schemas},
    }


def _protocols() -> dict[str, Any]:
    """What other protocols define themselves, by name alone."""
    infer = _foreign("Score tensors", "application/json", "inference protocol", ("name",))
    assess = _foreign("A RiskAssessment of a Bundle", "application/fhir+json", "FHIR")
    card = _foreign("A card with the risk", "application/json", "CDS Hooks", ("service",))
    return {
        "/v2/models/{name}/infer": {"post": infer},
        "/fhir/RiskAssessment": {"post": assess},
        "/cds-services/{service}": {"post": card},
    }


def _foreign(summary: str, kind: str, tag: str, names: tuple[str, ...] = ()) -> dict[str, Any]:
    content = {kind: {"schema": {"type": "object"}}}
    text = {"type": "string"}
    reasons = {"400": "malformed", "413": "too large", "415": "another type", "503": "not ready"}
    wrong = {"422": "values that break the study"} | ({"404": "another name"} if names else {})
    return {
        "summary": summary,
        "tags": [tag],
        "operationId": summary.lower().replace(" ", "_"),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": text} for name in names
        ],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "scored", "content": content},
            **{status: {"description": why} for status, why in {**reasons, **wrong}.items()},
        },
    }


def _operation(summary: str, content: dict[str, Any], answer: str) -> dict[str, Any]:
    def json(name: str) -> dict[str, Any]:
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}

    reasons = {
        "400": "not JSON, or a query that is not understood",
        "413": "too large",
        "415": "a content type that is not taken",
        "422": "values that break the study: each with field, value and rule",
        "503": "no model serves yet",
    }
    explain = {
        "name": "explain",
        "in": "query",
        "description": "also answer the interval and each feature's contribution",
        "schema": {"type": "boolean", "default": False},
    }
    answers = {
        status: {"description": why, "content": json("Error")} for status, why in reasons.items()
    }
    return {
        "summary": summary,
        "operationId": summary.lower().replace(" ", "_"),
        "parameters": [explain],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "scored", "content": json(answer)}, **answers},
    }
