"""JSON Schemas of what the API takes and answers; `tests/serving/test_openapi.py` holds it to.

Objects are closed: a field that an answer has and its schema does not is an error of one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedrisk.serving.describe import row_json_schema
from fedrisk.serving.fhir.assessment import ISSUES, QUALITATIVE
from fedrisk.serving.fhir.cds_hooks import HOOK, INDICATORS
from fedrisk.serving.scoring import LEVELS
from fedrisk.serving.tensors import NUMBER, OUTPUTS, TEXT, datatype
from fedrisk.study import Feature, NumberFeature, Study

Schema = dict[str, Any]

ANY: Schema = {}
STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
FIGURE: Schema = {"type": "number"}
RISK: Schema = {"type": "number", "minimum": 0, "maximum": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}


def reference(name: str) -> Schema:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(properties: Schema, optional: Sequence[str] = ()) -> Schema:
    """An object with these fields and no other; all are there but the optional ones."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def opened(properties: Schema, optional: Sequence[str] = ()) -> Schema:
    """An object that may have other fields too."""
    return closed(properties, optional) | {"additionalProperties": True}


def several(items: Schema, least: int = 0) -> Schema:
    """A list."""
    return {"type": "array", "items": items} | ({"minItems": least} if least else {})


def nullable(kind: str) -> Schema:
    """A value of a JSON type, or null."""
    return {"type": [kind, "null"]}


def one_of(values: Sequence[str]) -> Schema:
    """One of these texts."""
    return {"type": "string", "enum": list(values)}


def _scores() -> dict[str, Schema]:
    explained = ("interval", "intercept", "contributions")
    score = {
        "risk_score": RISK,
        "risk_level": one_of(LEVELS),
        "warnings": several(reference("Warning")) | {"description": "accepted, but implausible"},
        "interval": several(RISK)
        | {"minItems": 2, "maxItems": 2}
        | {"description": "95 % credible interval; only with explain=true"},
        "intercept": FIGURE | {"description": "log-odds; only with explain=true"},
        "contributions": {
            "type": "object",
            "additionalProperties": FIGURE,
            "description": "log-odds by feature, with the intercept they sum to the score's; "
            "only with explain=true",
        },
    }
    answered = {"model": reference("Identity"), "request_id": STRING}
    return {
        "Identity": closed({"name": STRING, "version": STRING}),
        "Warning": closed({"field": STRING, "value": FIGURE, "rule": STRING}),
        "Score": closed(score, explained),
        "Prediction": closed(score | answered, explained),
        "Predictions": closed({"predictions": several(reference("Score"), 1), **answered}),
    }


def _errors() -> dict[str, Schema]:
    violation = {
        "row": {"type": "integer", "minimum": 1, "description": "of a batch, the first is 1"},
        "field": nullable("string"),
        "value": ANY,
        "rule": STRING,
    }
    error = {
        "error": STRING,
        "hint": STRING,
        "detail": several(reference("Violation")),
        "total": COUNT | {"description": "violations; detail has the first hundred"},
        "request_id": STRING,
    }
    return {
        "Violation": closed(violation, ["row"]),
        "Error": closed(error, ["hint", "detail", "total"]),
        "Refused": closed({"reason": STRING, "hint": STRING, "at": TIME})
        | {"description": "what the cache holds and does not serve, and why"},
    }


def _operations() -> dict[str, Schema]:
    serving = closed({"name": STRING, "version": STRING, "run_id": STRING, "digest": STRING})
    details = {"registry": {"type": "object"}, "challenger": {"type": "object"}}
    refused: Schema = {"anyOf": [reference("Refused"), {"type": "null"}]}
    ready = {"status": {"const": "ready"}, "model": serving, "loaded_at": TIME, "refused": refused}
    unready = {"status": one_of(["not ready", "draining"]), "reason": STRING, "refused": refused}
    study = {
        "name": STRING,
        "title": STRING,
        "hash": STRING,
        "label": STRING,
        "horizon": nullable("string"),
        "bands": closed({"medium": RISK, "high": RISK}),
        "features": several({"type": "object"}, 1),
    }
    model = {
        "name": STRING,
        "version": STRING,
        "run_id": STRING,
        "digest": STRING,
        "created": nullable("string"),
        "loaded_at": TIME,
        "study": closed(study),
        "metrics": {"type": "object"},
        "about": {"type": "object"},
        "intercept": FIGURE,
        "columns": several({"type": "object"}),
    }
    return {
        "Ready": opened(ready | details, list(details)),
        "NotReady": opened(unready | details, ["refused", *details]),
        "Model": closed(model),
    }


def _tensor(feature: Feature) -> Schema:
    """The tensor of a feature."""
    value: Schema = {"type": "number" if isinstance(feature, NumberFeature) else "string"}
    if feature.missing == "allow":
        value["type"] = [value["type"], "null"]
    return opened(
        {
            "name": {"const": feature.name},
            "datatype": {"const": datatype(feature)},
            "shape": several(COUNT, 1) | {"maxItems": 2},
            "data": several(value),
        }
    )


def _inference_protocol(study: Study | None) -> dict[str, Schema]:
    tensors = [_tensor(feature) for feature in study.features] if study else []
    inputs = several({"anyOf": tensors} if tensors else {"type": "object"}, 1)
    outputs = several(opened({"name": one_of(list(OUTPUTS))}))
    size = {"shape": several({"type": "integer", "minimum": -1}, 1)}
    described = {"name": STRING, "datatype": one_of([NUMBER, TEXT]), **size}
    answered = described | {"data": several({"type": ["number", "string"]})}
    metadata = {
        "name": STRING,
        "versions": several(STRING, 1),
        "platform": STRING,
        "inputs": several(closed(described | {"parameters": {"type": "object"}}), 1),
        "outputs": several(closed(described), 1),
    }
    answer = {"model_name": STRING, "model_version": STRING, "id": STRING}
    return {
        "InferenceServer": closed(
            {"name": STRING, "version": STRING, "extensions": several(STRING)}
        ),
        "InferenceModel": closed(metadata),
        "InferenceRequest": opened(
            {"id": nullable("string"), "inputs": inputs, "outputs": outputs}, ["id", "outputs"]
        ),
        "InferenceResponse": closed(answer | {"outputs": several(closed(answered), 1)}, ["id"]),
        "InferenceError": closed({"error": STRING}),
    }


def _fhir() -> dict[str, Schema]:
    coding = {"system": STRING, "code": STRING}
    issue = closed(
        {
            "severity": {"const": "error"},
            "code": one_of(sorted({*ISSUES.values(), "exception", "required", "value"})),
            "diagnostics": STRING,
        }
    )
    qualitative = opened(
        {
            "coding": several(opened(coding), 1),
            "text": one_of(list(QUALITATIVE)),
        }
    )
    prediction = {
        "outcome": opened({"text": STRING}),
        "probabilityDecimal": {"type": "number", "minimum": 0, "maximum": 100},
        "qualitativeRisk": qualitative,
        "rationale": STRING,
    }
    assessment = {
        "resourceType": {"const": "RiskAssessment"},
        "status": {"const": "final"},
        "subject": {"type": "object"},
        "occurrenceDateTime": TIME,
        "prediction": several(opened(prediction), 1),
    }
    entry = opened({"fullUrl": STRING, "resource": {"type": "object"}}, ["fullUrl"])
    bundle = opened({"resourceType": {"const": "Bundle"}, "entry": several(entry)})
    listed = opened({"name": STRING, "resource": {"type": "object"}}, ["name"])
    parameters = opened({"resourceType": {"const": "Parameters"}, "parameter": several(listed)})
    return {
        "PatientData": {"anyOf": [bundle, parameters]},
        "RiskAssessment": opened(assessment),
        "OperationOutcome": closed(
            {"resourceType": {"const": "OperationOutcome"}, "issue": several(issue, 1)}
        ),
    }


def _cds_hooks() -> dict[str, Schema]:
    service = {
        "hook": {"const": HOOK},
        "id": STRING,
        "title": STRING,
        "description": STRING,
        "prefetch": {"type": "object", "additionalProperties": STRING},
    }
    card = {
        "summary": STRING | {"maxLength": 139},
        "indicator": one_of(list(INDICATORS.values())),
        "detail": STRING,
        "source": {"type": "object"},
        "links": several({"type": "object"}),
    }
    named = STRING | {"minLength": 1}
    request = {
        "hook": {"const": HOOK},
        "hookInstance": named,
        "context": opened({"patientId": named}),
        "prefetch": {"type": ["object", "null"]},
    }
    return {
        "HookServices": closed({"services": several(closed(service))}),
        "HookRequest": opened(request, ["prefetch"]),
        "HookCards": closed({"cards": several(opened(card), 1)}),
        "HookError": closed({"error": STRING}),
    }


def _trial() -> dict[str, Schema]:
    seconds: Schema = {"anyOf": [closed(dict.fromkeys(("mean", "p50", "p90", "p99"), FIGURE))]}
    seconds["anyOf"].append({"type": "null"})
    answered = {"version": STRING, "requests": COUNT, "rows": COUNT, "errors": COUNT}
    change = {"champion": one_of(LEVELS), "challenger": one_of(LEVELS), "rows": COUNT}
    compared = {
        "rows": COUNT,
        "mean": nullable("number"),
        "above": {"type": "object", "additionalProperties": RISK},
        "level_changes": several(closed(change)),
    }
    return {
        "Answered": closed(answered | {"seconds": seconds}),
        "Trial": closed(
            {
                "name": STRING,
                "since": TIME,
                "share": RISK,
                "shadow": BOOLEAN,
                "champion": reference("Answered"),
                "challenger": reference("Answered"),
                "shadowed": closed(
                    {"rows": COUNT, "errors": COUNT, "dropped": COUNT, "seconds": seconds}
                ),
                "compared": closed(compared),
            }
        ),
    }


def components(study: Study | None, example: Schema) -> dict[str, Schema]:
    """Every schema by its name; of a row only that it is an object, while no model serves."""
    row: Schema = {"type": "object", "description": "known once a model serves"}
    return {
        "Row": row if study is None else row_json_schema(study, example),
        **_scores(),
        **_errors(),
        **_operations(),
        **_trial(),
        **_inference_protocol(study),
        **_fhir(),
        **_cds_hooks(),
    }
