"""The OpenAPI document: everything that the API takes and answers, as the served study has it."""

from __future__ import annotations

from typing import Any

from fedrisk.serving.champion import ServedModel
from fedrisk.serving.openapi import job_operations
from fedrisk.serving.openapi.operations import KEY, scoring, telling
from fedrisk.serving.openapi.schemas import components

__all__ = ["complete"]


def complete(
    base: dict[str, Any], served: ServedModel | None, *, jobs: bool = False
) -> dict[str, Any]:
    """The app's own document, with what the framework cannot know of bodies and answers.

    Parameters
    ----------
    base : dict
        What FastAPI makes of the routes; a path that is described here is told as it is here.
    served : ServedModel or None
        The model that serves.
    jobs : bool
        Whether jobs are taken.
    """
    study = example = None
    model: tuple[str, ...] = ()
    if served is not None:
        study, example = served.stored.model.study, served.stored.checks[0]["row"]
        model = (served.stored.name, served.stored.version)
    service = (study.name,) if study is not None else ()
    gets = {path: {"get": each} for path, each in telling(model).items()}
    posts = {path: {"post": each} for path, each in scoring(model, service).items()}
    known = {path: gets.get(path, {}) | posts.get(path, {}) for path in {**posts, **gets}}
    if jobs:
        known |= job_operations.operations()
    given = dict(base.get("components", {}))
    schemas = {**given.get("schemas", {}), **components(study, example or {})}
    if jobs:
        schemas["Job"] = job_operations.JOB
    schemes = {**given.get("securitySchemes", {}), KEY: {"type": "http", "scheme": "bearer"}}
    return base | {
        "paths": {**base.get("paths", {}), **known},
        "components": given | {"schemas": schemas, "securitySchemes": schemes},
    }
