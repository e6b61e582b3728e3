"""The two endpoints that score: bytes in, bytes out, nothing between that is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import parse_qs

import orjson
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from fedrisk.errors import UsageError
from fedrisk.models.checks import columns_from_rows
from fedrisk.serving.capture import Capture
from fedrisk.serving.champion import Champion, ServedModel
from fedrisk.serving.formats import ScoredBatch, batch_format, is_json
from fedrisk.serving.metrics import ServingMetrics
from fedrisk.serving.request import Row
from fedrisk.serving.scoring import LEVELS
from fedrisk.serving.transport import media_type, read_body, respond

PREDICT, BATCH = "/predict", "/predict/batch"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may bring.

    Attributes
    ----------
    row_bytes : int
        Longest body of `/predict`.
    batch_bytes : int
        Longest body of `/predict/batch`.
    batch_rows : int
    """

    row_bytes: int = 1 << 20
    batch_bytes: int = 16 << 20
    batch_rows: int = 10_000


def wants_explanation(scope: Scope) -> bool:
    """Whether the query says ``explain=true``.

    Raises
    ------
    UsageError
        When it says something else than true or false.
    """
    query = scope["query_string"]
    if not query:
        return False
    value = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("explain", ["false"])[-1]
    if value.lower() not in ("true", "1", "false", "0"):
        raise UsageError("explain must be true or false")
    return value.lower() in ("true", "1")


class Predict:
    """``POST /predict``: one row as a JSON object."""

    def __init__(
        self,
        champion: Champion,
        metrics: ServingMetrics,
        limits: Limits,
        capture: Capture | None = None,
    ) -> None:
        self.champion = champion
        self.metrics = metrics
        self.capture = capture
        self.limit = limits.row_bytes
        self._latency = metrics.latency(PREDICT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        if not is_json(media_type(scope)):
            raise HTTPException(415, "send one JSON object as application/json")
        body = await read_body(scope, receive, self.limit)
        answer = self.answer(body, wants_explanation(scope), scope["request_id"])
        await respond(send, answer)
        self._latency.observe(perf_counter() - began)

    def answer(self, body: bytes, explain: bool, request_id: str) -> bytes:
        """Score one row: everything but HTTP."""
        served = self.champion.require()
        scorer = served.scorer
        row = served.validator.row(body)
        risk = scorer.risk(row)
        level = scorer.level(risk)
        warnings = scorer.warnings(row)
        document = {
            "risk_score": risk,
            "risk_level": level,
            "warnings": warnings,
            "model": served.identity,
            "request_id": request_id,
        }
        if explain:
            document |= scorer.explainer.explain(row).document()
        self.metrics.predicted(PREDICT, level, served.stored.version)
        if self.capture is not None:
            self.capture.count_row(served.stored, row, risk)
        for warning in warnings:
            self.metrics.implausible(warning["field"])
        return orjson.dumps(document)


class PredictBatch:
    """``POST /predict/batch``: many rows as JSON, one JSON object a line, or CSV.

    Other protocols score through it too, each counted under an ``endpoint`` of its own.
    """

    def __init__(
        self,
        champion: Champion,
        metrics: ServingMetrics,
        limits: Limits,
        capture: Capture | None = None,
        endpoint: str = BATCH,
    ) -> None:
        self.endpoint = endpoint
        self.champion = champion
        self.metrics = metrics
        self.capture = capture
        self.limit = limits.batch_bytes
        self._latency = metrics.latency(endpoint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        form = batch_format(media_type(scope))
        if form is None:
            raise HTTPException(415, "send application/json, application/x-ndjson or text/csv")
        body = await read_body(scope, receive, self.limit)
        served = self.champion.require()
        rows = form.read(body, served.validator)
        batch = self.score(served, rows, wants_explanation(scope), scope["request_id"])
        model = ((b"x-model-version", served.stored.version.encode()),)
        await respond(send, form.write(batch), content_type=form.content_type, headers=model)
        self._latency.observe(perf_counter() - began)

    def observe(self, seconds: float) -> None:
        """Note how long an answer took."""
        self._latency.observe(seconds)

    def score(
        self, served: ServedModel, rows: Sequence[Row], explain: bool, request_id: str
    ) -> ScoredBatch:
        """Score rows in arrays and count them."""
        scorer = served.scorer
        columns = columns_from_rows(scorer.study, rows)
        risks = scorer.risks(columns)
        if self.capture is not None:
            self.capture.count_columns(served.stored, columns, risks)
        levels = [LEVELS[code] for code in scorer.level_codes(risks)]
        warnings = [scorer.warnings(row) for row in rows]
        for level in LEVELS:
            count = levels.count(level)
            if count:
                self.metrics.predicted(self.endpoint, level, served.stored.version, count)
        for found in warnings:
            for warning in found:
                self.metrics.implausible(warning["field"])
        return ScoredBatch(
            risks=risks.tolist(),
            levels=levels,
            warnings=warnings,
            explanations=scorer.explain(rows) if explain else None,
            model=served.identity,
            request_id=request_id,
        )
