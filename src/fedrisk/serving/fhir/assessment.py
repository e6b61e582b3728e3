"""``POST /fhir/RiskAssessment``: a Bundle or Parameters in, an R4 RiskAssessment out."""

from __future__ import annotations

from datetime import datetime
from time import perf_counter
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from fedrisk.errors import DataError, UsageError
from fedrisk.serving.champion import ServedModel
from fedrisk.serving.explaining import Explanation
from fedrisk.serving.fhir.mapping import Mapping
from fedrisk.serving.fhir.reading import LARGEST, Reading, read_case
from fedrisk.serving.fhir.resources import entries, one_case, parse_json
from fedrisk.serving.formats import ScoredBatch, is_json
from fedrisk.serving.journal import SCORED
from fedrisk.serving.predict import PredictBatch, canary_key
from fedrisk.serving.transport import media_type, read_body, respond
from fedrisk.study.contract import parse_duration
from fedrisk.study.rules import NOT_MISSING

FHIR = "/fhir/RiskAssessment"
FHIR_JSON = b"application/fhir+json; charset=utf-8"
PROBABILITY_CODES = "http://terminology.hl7.org/CodeSystem/risk-probability"
#: FHIR's own words for our levels; ours stand beside them.
QUALITATIVE = {"low": "low", "medium": "moderate", "high": "high"}
#: Issue types of HTTP statuses; what is not here is an exception.
ISSUES = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    413: "too-long",
    415: "not-supported",
    429: "throttled",
    503: "transient",
}


def operation_outcome(error: Exception, status: int, document: dict[str, Any]) -> dict[str, Any]:
    """An error as FHIR has it: an issue for each value that is missing or wrong."""
    if isinstance(error, DataError):
        issues = [_issue(_kind(v.rule), f"{v.column}: {v.rule}") for v in error.violations]
    else:
        issues = [_issue(ISSUES.get(status, "exception"), str(document["error"]))]
    return {"resourceType": "OperationOutcome", "issue": issues}


def _kind(rule: str) -> str:
    return "required" if rule.startswith(NOT_MISSING) else "value"


def _issue(kind: str, text: str) -> dict[str, str]:
    return {"severity": "error", "code": kind, "diagnostics": text}


class RiskAssessments:
    """The endpoint."""

    def __init__(self, scoring: PredictBatch, mapping: Mapping) -> None:
        self.scoring = scoring
        self.mapping = mapping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = perf_counter()
        if scope["method"] != "POST":
            raise HTTPException(405, "POST a Bundle or Parameters", {"allow": "POST"})
        if not is_json(media_type(scope)):
            raise HTTPException(415, "send application/fhir+json")
        body = await read_body(scope, receive, LARGEST)
        await respond(send, self.answer(body, scope), content_type=FHIR_JSON)
        self.scoring.observe(perf_counter() - began)

    def answer(self, body: bytes, scope: Scope) -> bytes:
        """Assess one patient: everything but HTTP."""
        served = self.scoring.champion.require()
        document = parse_json(body)
        if document.get("resourceType") not in ("Bundle", "Parameters"):
            raise UsageError("send a Bundle or Parameters with a Patient and Observations")
        case = one_case(entries(document, str(document["resourceType"])))
        now = self.scoring.champion.clock()
        reading = read_case(case, self.mapping, served.validator, now.date())
        answering, batch = self.scoring.scored(
            served, [reading.row], True, scope["request_id"], canary_key(scope)
        )
        scope[SCORED] = (batch.model, 1)
        return orjson.dumps(
            risk_assessment(answering, case.subject, reading, batch, now, self.mapping)
        )


def risk_assessment(
    served: ServedModel,
    subject: str | None,
    reading: Reading,
    batch: ScoredBatch,
    now: datetime,
    mapping: Mapping,
) -> dict[str, Any]:
    """The resource."""
    study, stored = served.stored.model.study, served.stored
    reference = {"display": "the Patient that was sent"} if not subject else {"reference": subject}
    method = f"{study.title or study.name}: {stored.name}, version {stored.version}"
    note = (
        f"Model {stored.name}, version {stored.version}, digest {stored.digest}. Contributions "
        "are log-odds and say how the model came to its figure, not what caused what."
    )
    assessment: dict[str, Any] = {
        "resourceType": "RiskAssessment",
        "identifier": [{"system": "urn:fedrisk:request", "value": batch.request_id}],
        "status": "final",
        "method": {
            "coding": [
                {"system": f"urn:fedrisk:model:{stored.name}", "version": stored.version}
                | {"code": study.name}
            ],
            "text": method,
        },
        "subject": reference,
        "occurrenceDateTime": now.isoformat(timespec="seconds"),
        "basis": [{"reference": name} for name in reading.basis],
        "prediction": [_prediction(served, batch, now, mapping)],
        "note": [{"time": now.isoformat(timespec="seconds"), "text": note}],
    }
    return {key: value for key, value in assessment.items() if value != []}


def _prediction(
    served: ServedModel, batch: ScoredBatch, now: datetime, mapping: Mapping
) -> dict[str, Any]:
    study = served.stored.model.study
    risk, level = batch.risks[0], batch.levels[0]
    explanation = (batch.explanations or [])[0]
    scale = 100.0 if mapping.probability == "percent" else 1.0
    horizon = parse_duration(study.horizon)
    period = {"whenPeriod": {"start": _text(now), "end": _text(now + horizon)}} if horizon else {}
    return {
        "extension": _extensions(explanation, scale),
        "outcome": {"text": study.title or study.label},
        "probabilityDecimal": risk * scale,
        "qualitativeRisk": {
            "coding": [
                {"system": PROBABILITY_CODES, "code": QUALITATIVE[level]},
                {"system": "urn:fedrisk:risk-level", "code": level},
            ],
            "text": level,
        },
        **period,
        "rationale": rationale(risk, level, explanation, [w["field"] for w in batch.warnings[0]]),
    }


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def rationale(risk: float, level: str, explanation: Explanation, unusual: list[str]) -> str:
    """The figure in words, with the interval."""
    low, high = explanation.interval
    text = f"Risk {risk:.1%} ({level}), 95 % credible interval {low:.1%} to {high:.1%}."
    return text + (f" Unusual values: {', '.join(unusual)}." if unusual else "")


def _extensions(explanation: Explanation, scale: float) -> list[dict[str, Any]]:
    """The interval, the intercept, and one extension a feature's contribution."""
    low, high = explanation.interval
    interval = {"low": {"value": low * scale}, "high": {"value": high * scale}}
    parts = [("(intercept)", explanation.intercept), *explanation.contributions.items()]
    return [
        {"url": "urn:fedrisk:interval", "valueRange": interval},
        *(
            {
                "url": "urn:fedrisk:contribution",
                "extension": [
                    {"url": "feature", "valueString": name},
                    {"url": "logOdds", "valueDecimal": effect},
                ],
            }
            for name, effect in parts
        ),
    ]
