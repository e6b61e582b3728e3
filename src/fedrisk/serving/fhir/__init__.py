"""FHIR R4 and CDS Hooks: risks for systems that speak of patients, observations and cards."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp

from fedrisk.serving.access import Guard, Guarded
from fedrisk.serving.dialect import Dialect
from fedrisk.serving.fhir.assessment import FHIR, FHIR_JSON, RiskAssessments, operation_outcome
from fedrisk.serving.fhir.cds_hooks import CDS, CardService, add_discovery, told
from fedrisk.serving.fhir.mapping import Mapping, read_mapping
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.predict import PredictBatch

__all__ = ["CDS", "FHIR", "add_fhir", "read_mapping"]


def add_fhir(
    app: FastAPI,
    assessing: PredictBatch,
    advising: PredictBatch,
    mapping: Mapping,
    guard: Guard | None,
    lifecycle: Lifecycle,
) -> None:
    """Add the paths; both ask for a key's scope ``predict`` where keys are needed."""

    def guarded(endpoint: ASGIApp) -> ASGIApp:
        return endpoint if guard is None else Guarded(endpoint, guard, "predict")

    assess = guarded(RiskAssessments(assessing, mapping))
    app.router.routes.append(Route(FHIR, Dialect(assess, operation_outcome, lifecycle, FHIR_JSON)))
    add_discovery(app, advising.champion, mapping)
    advise = Dialect(guarded(CardService(advising, mapping)), told, lifecycle)
    app.router.routes.append(Route(f"{CDS}/{{service}}", advise, methods=["POST"]))
