"""CDS Hooks: one service at ``patient-view`` that answers one card with risk, drivers and link."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any, Literal

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from fedrisk.errors import DataError, UsageError
from fedrisk.serving.champion import Champion, ServedModel
from fedrisk.serving.documentation import PAGE
from fedrisk.serving.fhir.assessment import rationale
from fedrisk.serving.fhir.mapping import Mapping
from fedrisk.serving.fhir.reading import LARGEST, Reading, read_case
from fedrisk.serving.fhir.resources import Case, entries, one_case, parse_json
from fedrisk.serving.formats import ScoredBatch, is_json
from fedrisk.serving.journal import SCORED
from fedrisk.serving.predict import PredictBatch, canary_key
from fedrisk.serving.transport import media_type, read_body, respond
from fedrisk.study import Feature, NumberFeature, Study

CDS = "/cds-services"
HOOK = "patient-view"
INDICATORS = {"low": "info", "medium": "warning", "high": "critical"}
#: Characters of a card's summary, by the specification.
SUMMARY = 139
#: Contributions that a card names.
DRIVERS = 5

Found = Iterator[tuple[str, str | None, Any]]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class Context(_Part):
    """Whose chart was opened."""

    patient_id: str = Field(alias="patientId", min_length=1)


class HookRequest(_Part):
    """What a client sends when the hook fires."""

    hook: Literal["patient-view"]
    hook_instance: str = Field(alias="hookInstance", min_length=1)
    context: Context
    prefetch: dict[str, Any] | None = None


def told(_: Exception, __: int, document: dict[str, Any]) -> dict[str, Any]:
    """An error; the specification knows HTTP's statuses alone, so the text is for developers."""
    return {"error": document["error"]}


def parse_hook(body: bytes) -> HookRequest:
    """The request in a body.

    Raises
    ------
    UsageError
    """
    try:
        return HookRequest.model_validate(parse_json(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, found["loc"]))
        raise UsageError(f"{place}: {found['msg']}") from None


def prefetch_templates(study: Study, mapping: Mapping) -> dict[str, str]:
    """What a client shall send along: the patient, and the latest observation of each feature."""
    templates = {"patient": "Patient/{{context.patientId}}"}
    for feature in study.features:
        source = mapping.source(feature)
        if source.patient is None:
            codes = ",".join(f"{source.system}|{code}" for code in source.code)
            templates[f"observation_{feature.name}"] = (
                f"Observation?patient={{{{context.patientId}}}}&code={codes}&_sort=-date&_count=1"
            )
    return templates


def discovery(served: ServedModel | None, mapping: Mapping) -> dict[str, Any]:
    """What ``GET /cds-services`` answers; no service while no model serves."""
    if served is None:
        return {"services": []}
    study = served.stored.model.study
    title = study.title or study.name
    service = {
        "hook": HOOK,
        "id": study.name,
        "title": title,
        "description": f"Risk of: {title}, with its level and what drives it",
        "prefetch": prefetch_templates(study, mapping),
    }
    return {"services": [service]}


def add_discovery(app: FastAPI, champion: Champion, mapping: Mapping) -> None:
    """Add the path that tells which services there are."""

    @app.get(CDS, summary="CDS Hooks services", tags=["CDS Hooks"])
    async def services() -> Response:
        body = orjson.dumps(discovery(champion.served, mapping))
        return Response(body, media_type="application/json")


def prefetched(request: HookRequest) -> Case:
    """The patient whose chart was opened, with the observations that came along.

    Raises
    ------
    UsageError
        When a resource is malformed, or of another patient.
    """
    found = _resources(request.prefetch or {})
    case = one_case(found)
    if case.patient.id not in (None, request.context.patient_id):
        raise UsageError("prefetch has another Patient than context.patientId")
    return case


def _resources(prefetch: dict[str, Any]) -> Found:
    for key, value in prefetch.items():
        if value is not None:
            yield from entries(value, f"prefetch.{key}")


class CardService:
    """``POST /cds-services/ID``."""

    def __init__(self, scoring: PredictBatch, mapping: Mapping) -> None:
        self.scoring = scoring
        self.mapping = mapping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = perf_counter()
        if not is_json(media_type(scope)):
            raise HTTPException(415, "send application/json")
        served = self.scoring.champion.require()
        if scope["path_params"]["service"] != served.stored.model.study.name:
            raise HTTPException(404, "no such service; GET /cds-services lists them")
        body = await read_body(scope, receive, LARGEST)
        link = self.mapping.link or f"{str(Request(scope).base_url).rstrip('/')}{PAGE}"
        card = self.card(body, served, link, scope)
        await respond(send, orjson.dumps({"cards": [card]}))
        self.scoring.observe(perf_counter() - began)

    def card(self, body: bytes, served: ServedModel, link: str, scope: Scope) -> dict[str, Any]:
        """The card to a request: everything but HTTP."""
        request = parse_hook(body)
        if not (request.prefetch or {}).get("patient"):
            return _unscored(served, link, ["patient: must not be missing: it was not prefetched"])
        case = prefetched(request)
        today = self.scoring.champion.clock().date()
        try:
            reading = read_case(case, self.mapping, served.validator, today)
        except DataError as error:
            return _unscored(served, link, [f"{v.column}: {v.rule}" for v in error.violations])
        answering, batch = self.scoring.scored(
            served, [reading.row], True, scope["request_id"], canary_key(scope)
        )
        scope[SCORED] = (batch.model, 1)
        return _scored(answering, link, reading, batch)


def _card(
    served: ServedModel, link: str, summary: str, indicator: str, detail: str
) -> dict[str, Any]:
    stored = served.stored
    short = summary if len(summary) <= SUMMARY else f"{summary[: SUMMARY - 3]}..."
    return {
        "summary": short,
        "indicator": indicator,
        "detail": detail,
        "source": {"label": f"fedrisk: {stored.name}, version {stored.version}", "url": link},
        "links": [{"label": "About this model", "url": link, "type": "absolute"}],
    }


def _title(served: ServedModel) -> str:
    study = served.stored.model.study
    return study.title or study.name


def _unscored(served: ServedModel, link: str, reasons: list[str]) -> dict[str, Any]:
    """No risk, and what it would need."""
    detail = "The risk was not computed. What is missing or unusable:\n\n"
    lines = "\n".join(f"- {reason}" for reason in reasons)
    return _card(
        served, link, f"No risk for lack of data: {_title(served)}", "info", detail + lines
    )


def _scored(served: ServedModel, link: str, reading: Reading, batch: ScoredBatch) -> dict[str, Any]:
    risk, level = batch.risks[0], batch.levels[0]
    explanation = (batch.explanations or [])[0]
    features = {f.name: f for f in served.stored.model.study.features}
    drivers = sorted(explanation.contributions.items(), key=lambda part: -abs(part[1]))
    lines = [
        f"- {_told(features[name], reading.row[name])} "
        f"{'raises' if effect > 0 else 'lowers'} it ({effect:+.2f} log-odds)"
        for name, effect in drivers[:DRIVERS]
    ]
    unusual = [warning["field"] for warning in batch.warnings[0]]
    head = rationale(risk, level, explanation, unusual)
    tail = "Compared with an average person; associations in the data, not causes."
    detail = "\n\n".join([head, "\n".join(["**What drives it**", "", *lines]), tail])
    summary = f"Risk {risk:.1%} ({level}): {_title(served)}"
    return _card(served, link, summary, INDICATORS[level], detail)


def _told(feature: Feature, value: Any) -> str:
    if value is None:
        return f"{feature.name} (missing)"
    if isinstance(feature, NumberFeature):
        return f"{feature.name} {value:g} {feature.unit}".rstrip()
    return f"{feature.name} {value}"
