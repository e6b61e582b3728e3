"""The served model in words and in JSON Schema: features with units and bounds, bands, metrics."""

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
        low, high = feature.limits
        schema |= {"type": "number", "minimum": low, "maximum": high}
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
