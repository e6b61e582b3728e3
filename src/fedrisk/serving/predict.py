"""The two endpoints that score: bytes in, bytes out, nothing between that is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import parse_qs

import orjson
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from fedrisk.errors import DataError, UsageError
from fedrisk.models.checks import columns_from_rows
from fedrisk.serving.capture import Capture
from fedrisk.serving.challenger import CANARY_KEY, Trial
from fedrisk.serving.champion import Champion, ServedModel
from fedrisk.serving.formats import ScoredBatch, batch_format, is_json
from fedrisk.serving.journal import SCORED
from fedrisk.serving.metrics import ServingMetrics
from fedrisk.serving.recording import Recorder
from fedrisk.serving.request import Row
from fedrisk.serving.scoring import LEVELS
from fedrisk.serving.transport import (
    check_length,
    check_plain,
    header,
    media_type,
    read_body,
    respond,
)

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
    if query == b"explain=true":
        return True
    value = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("explain", ["false"])[-1]
    if value.lower() not in ("true", "1", "false", "0"):
        raise UsageError("explain must be true or false")
    return value.lower() in ("true", "1")


def canary_key(scope: Scope) -> bytes:
    """What decides which model answers: the caller's key, or else the request's id."""
    given = header(scope, CANARY_KEY)
    return scope["request_id"].encode() if given is None else given


class Predict:
    """``POST /predict``: one row as a JSON object."""

    def __init__(
        self,
        champion: Champion,
        metrics: ServingMetrics,
        limits: Limits,
        capture: Capture | None = None,
        trial: Trial | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.champion = champion
        self.metrics = metrics
        self.capture = capture
        self.trial = trial
        self.recorder = recorder
        self.limit = limits.row_bytes
        self._latency = metrics.latency(PREDICT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        self._check(scope)
        answer = self._answer(scope, await read_body(scope, receive, self.limit))
        await respond(send, answer)
        self._latency.observe(perf_counter() - began)

    def at_once(self, scope: Scope, body: bytes) -> bytes:
        """Answer a whole request: nothing in it waits."""
        began = perf_counter()
        self._check(scope)
        check_length(body, self.limit)
        answer = self._answer(scope, body)
        self._latency.observe(perf_counter() - began)
        return answer

    def _check(self, scope: Scope) -> None:
        if not is_json(media_type(scope)):
            raise HTTPException(415, "send one JSON object as application/json")
        check_plain(scope)

    def _answer(self, scope: Scope, body: bytes) -> bytes:
        explain = wants_explanation(scope)
        if self.trial is None or not self.trial.on:
            return self.answer(self.champion.require(), body, explain, scope)
        return self.try_answer(self.trial, body, explain, scope)

    def try_answer(self, trial: Trial, body: bytes, explain: bool, scope: Scope) -> bytes:
        """Score one row by the challenger where it is its turn; by the champion where it fails."""
        champion = self.champion.require()
        challenger = trial.canary(champion, canary_key(scope))
        if challenger is not None:
            try:
                return self._timed(trial, challenger, body, explain, scope)
            except (DataError, UsageError):
                raise  # the champion would say the same
            except Exception:  # noqa: BLE001, S110 it is counted, and the champion answers
                pass
        return self._timed(trial, champion, body, explain, scope, trial)

    def _timed(
        self,
        trial: Trial,
        served: ServedModel,
        body: bytes,
        explain: bool,
        scope: Scope,
        shadow: Trial | None = None,
    ) -> bytes:
        """Score one row by one of a trial's models, and count how it did."""
        began = perf_counter()
        try:
            answer = self.answer(served, body, explain, scope, shadow)
        except (DataError, UsageError):
            raise
        except Exception:
            trial.failed(served)
            raise
        trial.answered(served, 1, perf_counter() - began)
        return answer

    def answer(
        self,
        served: ServedModel,
        body: bytes,
        explain: bool,
        scope: Scope,
        trial: Trial | None = None,
    ) -> bytes:
        """Score one row: everything but HTTP; a trial takes the row into the shadow."""
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
            "request_id": scope["request_id"],
        }
        if explain:
            document |= scorer.explainer.explain(row).document()
        answer = orjson.dumps(document)
        scope[SCORED] = (served.identity, 1)
        self.metrics.predicted(PREDICT, level, served.stored.version)
        if self.capture is not None:
            self.capture.count_row(served.stored, row, risk)
        if self.recorder is not None:
            self.recorder.note(served.stored, PREDICT, scope["request_id"], (row,), (risk,))
        for warning in warnings:
            self.metrics.implausible(warning["field"])
        if trial is not None:
            trial.shadow(served, [row], [risk])
        return answer


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
        trial: Trial | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.recorder = recorder
        self.champion = champion
        self.metrics = metrics
        self.capture = capture
        self.trial = trial
        self.limit = limits.batch_bytes
        self._latency = metrics.latency(endpoint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        check_plain(scope)
        form = batch_format(media_type(scope))
        if form is None:
            raise HTTPException(415, "send application/json, application/x-ndjson or text/csv")
        body = await read_body(scope, receive, self.limit)
        champion = self.champion.require()
        rows = form.read(body, champion.validator)
        explain, identifier = wants_explanation(scope), scope["request_id"]
        _, batch = self.scored(champion, rows, explain, identifier, canary_key(scope))
        scope[SCORED] = (batch.model, len(rows))
        model = ((b"x-model-version", batch.model["version"].encode()),)
        await respond(send, form.write(batch), content_type=form.content_type, headers=model)
        self._latency.observe(perf_counter() - began)

    def observe(self, seconds: float) -> None:
        """Note how long an answer took."""
        self._latency.observe(seconds)

    def scored(
        self,
        champion: ServedModel,
        rows: Sequence[Row],
        explain: bool,
        request_id: str,
        key: bytes,
    ) -> tuple[ServedModel, ScoredBatch]:
        """Score rows by the challenger where it is its turn; by the champion where it fails.

        Parameters
        ----------
        champion : ServedModel
        rows : sequence of Row
        explain : bool
        request_id : str
        key : bytes
            What decides whose turn it is.

        Returns
        -------
        ServedModel
            Whose answer it is.
        ScoredBatch
        """
        trial = self.trial
        challenger = None if trial is None or not trial.on else trial.canary(champion, key)
        if challenger is not None:
            with suppress(Exception):  # whatever it is, the champion answers
                return challenger, self.score_by(challenger, rows, explain, request_id)
        return champion, self.score_by(champion, rows, explain, request_id)

    def score_by(
        self, served: ServedModel, rows: Sequence[Row], explain: bool, request_id: str
    ) -> ScoredBatch:
        """Score rows by one model and no other, and let a trial know."""
        trial = self.trial
        if trial is None or not trial.on:
            return self.score(served, rows, explain, request_id)
        began = perf_counter()
        try:
            batch = self.score(served, rows, explain, request_id)
        except Exception:
            trial.failed(served)
            raise
        trial.answered(served, len(rows), perf_counter() - began)
        if served is self.champion.served:
            trial.shadow(served, rows, batch.risks)
        return batch

    def score(
        self, served: ServedModel, rows: Sequence[Row], explain: bool, request_id: str
    ) -> ScoredBatch:
        """Score rows in arrays and count them."""
        scorer = served.scorer
        columns = columns_from_rows(scorer.study, rows)
        risks = scorer.risks(columns)
        levels = [LEVELS[code] for code in scorer.level_codes(risks)]
        warnings = [scorer.warnings(row) for row in rows]
        explanations = scorer.explain(rows) if explain else None
        if self.capture is not None:
            self.capture.count_columns(served.stored, columns, risks)
        if self.recorder is not None:
            self.recorder.note(served.stored, self.endpoint, request_id, rows, risks)
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
            explanations=explanations,
            model=served.identity,
            request_id=request_id,
        )
