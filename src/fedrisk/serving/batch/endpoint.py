"""``POST /predict/batch`` for bodies of any length.

A small body is answered where it is, by `PredictBatch`. A larger one goes to a scoring process, and
its answer into a file without a name, from where it is sent once all rows are known to be right:
whoever gets a 200 gets every row. ``?stream=true`` asks for answers while the body still comes;
then an error can only end the answer, visibly.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from fedrisk.errors import FedriskError, UsageError
from fedrisk.profiles import Profile
from fedrisk.serving.batch.frames import Task
from fedrisk.serving.batch.processes import ScoringProcess, ScoringProcesses, spooled
from fedrisk.serving.batch.streams import error_line
from fedrisk.serving.champion import ServedModel
from fedrisk.serving.formats import Format, JsonFormat, NdjsonFormat, batch_format
from fedrisk.serving.journal import SCORED
from fedrisk.serving.predict import PredictBatch, wants_explanation
from fedrisk.serving.time_limits import LATE, PROGRESS
from fedrisk.serving.transport import answer_to, header, media_type

#: Longer bodies are scored beside the server: this one takes the event loop some milliseconds.
SMALL = 64 << 10
SMALL_ROWS = 1000
PIECE = 256 << 10


class ManyRows:
    """Scores batches of any length.

    Parameters
    ----------
    small : PredictBatch
        Answers small ones; its champion, figures and capture are used for all.
    processes : ScoringProcesses
    """

    def __init__(self, small: PredictBatch, processes: ScoringProcesses) -> None:
        self.small = small
        self.processes = processes
        self.silence = processes.rules.silence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one batch."""
        began = perf_counter()
        form = batch_format(media_type(scope))
        if form is None:
            raise HTTPException(415, "send application/json, application/x-ndjson or text/csv")
        packed, live = is_gzipped(scope), wants_stream(scope, form)
        check_announced(scope, self.processes.rules.most_bytes)
        scope[PROGRESS] = 0
        body = Body(scope, receive, self.silence)
        if not packed and not live:
            head = await body.head(SMALL)
            if body.ended and head.count(b"\n") <= SMALL_ROWS:
                await self.small(scope, replaying(head), send)
                return
        served = self.small.champion.require()
        task = self._task(scope, packed=packed, live=live)
        telling = Telling(scope, send, self.silence)
        answer = LiveAnswer(telling, form) if live else None
        async with self.processes.one() as process:
            outcome = await self._scored(process, task, body, answer, scope)
            if outcome is None:
                return
            count_outcome(self.small, served, process.model, outcome)
            scope[SCORED] = (process.model, outcome["rows"])
            if answer is None:
                await self._send(process, form, telling)
            else:
                await answer.finish()
        self.small.observe(perf_counter() - began)

    def _task(self, scope: Scope, *, packed: bool, live: bool) -> Task:
        rules = self.processes.rules
        return Task(
            model=str(self.small.champion.folder),
            media_type=media_type(scope).decode("latin-1"),
            gzip=packed,
            explain=wants_explanation(scope),
            live=live,
            request_id=scope["request_id"],
            most_bytes=rules.most_bytes,
            most_rows=rules.most_rows,
        )

    async def _scored(
        self,
        process: ScoringProcess,
        task: Task,
        body: Body,
        answer: LiveAnswer | None,
        scope: Scope,
    ) -> dict[str, Any] | None:
        """Feed and read at the same time; None when a live answer was ended by an error."""

        async def data(piece: bytes) -> None:
            if answer is not None:
                await answer.send(piece, process)

        feeding = asyncio.create_task(process.take(task, body.parts()))
        reading = asyncio.create_task(process.result(data))
        try:
            await asyncio.wait({feeding, reading}, return_when=asyncio.FIRST_EXCEPTION)
            if feeding.done() and not feeding.cancelled() and (lost := feeding.exception()):
                raise lost
            return await reading
        except (FedriskError, HTTPException) as error:
            if answer is None or not answer.started:
                raise
            await answer.fail(error, scope["request_id"])
            return None
        finally:
            for each in (feeding, reading):
                each.cancel()
            await asyncio.gather(feeding, reading, return_exceptions=True)

    async def _send(self, process: ScoringProcess, form: Format, telling: Telling) -> None:
        """Send the spooled answer; memory holds one piece, however slowly it is taken."""
        size = spooled(process.spool)
        headers = [
            (b"content-type", form.content_type),
            (b"content-length", b"%d" % size),
            (b"x-model-version", process.model["version"].encode()),
        ]
        await telling.start(headers)
        for place in range(0, size, PIECE):
            piece = os.pread(process.spool.fileno(), PIECE, place)
            await telling.body(piece, more=place + PIECE < size)


def count_outcome(
    small: PredictBatch, served: ServedModel | None, model: dict[str, str], outcome: dict[str, Any]
) -> None:
    """Count what a scoring process scored, as if it had been scored here.

    Parameters
    ----------
    small : PredictBatch
        Whose endpoint, figures and capture.
    served : ServedModel or None
        What serves now: its study has the bins that are counted in.
    model : dict
        Name and version of what scored.
    outcome : dict
        See `slices.Outcome.document`.
    """
    version = model["version"]
    for level, rows in outcome["levels"].items():
        small.metrics.predicted(small.endpoint, level, version, rows)
    for feature, values in outcome["implausible"].items():
        small.metrics.implausible(feature, values)
    if small.capture is None or served is None:
        return
    profile, study = Profile.from_document(outcome["profile"]), served.stored.model.study
    if profile.study == study.hash:
        small.capture.count_profile(study, model["name"], version, profile)


class Body:
    """A request's body as it comes.

    Parameters
    ----------
    scope : ASGI scope
        Told of progress, so that limits of time are those of a part.
    receive : ASGI callable
    silence : float
        Seconds in which something must come.
    """

    def __init__(self, scope: Scope, receive: Receive, silence: float) -> None:
        self._scope = scope
        self._receive = receive
        self._silence = silence
        self._head = b""
        self.ended = False

    async def head(self, most: int) -> bytes:
        """The first bytes, up to about so many; they come again in `parts`."""
        parts: list[bytes] = []
        while not self.ended and sum(map(len, parts)) <= most:
            parts.append(await self._next())
        self._head = b"".join(parts)
        return self._head

    async def parts(self) -> AsyncIterator[bytes]:
        """All of it."""
        if self._head:
            yield self._head
        while not self.ended:
            yield await self._next()

    async def _next(self) -> bytes:
        try:
            message = await asyncio.wait_for(self._receive(), self._silence)
        except TimeoutError:
            raise HTTPException(408, "the body stopped coming") from None
        if LATE in self._scope:
            raise HTTPException(408, "the body stopped coming")
        self._scope[PROGRESS] += 1
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "the request ended before its body did")
        self.ended = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part


class Telling:
    """Sends an answer in parts, and is told when one is not taken.

    Parameters
    ----------
    scope : ASGI scope
        Told of progress.
    send : ASGI callable
    silence : float
        Seconds in which a part must be taken.
    """

    def __init__(self, scope: Scope, send: Send, silence: float) -> None:
        self._scope = scope
        self._send = send
        self._silence = silence
        self.started = False

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of a good answer."""
        self.started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def body(self, piece: bytes, *, more: bool) -> None:
        """Send a part; returns when there is room for the next."""
        message = {"type": "http.response.body", "body": piece, "more_body": more}
        await asyncio.wait_for(self._send(message), self._silence)
        self._scope[PROGRESS] += 1


class LiveAnswer:
    """An answer that is sent while the body still comes.

    Parameters
    ----------
    telling : Telling
    form : Format
    """

    def __init__(self, telling: Telling, form: Format) -> None:
        self._telling = telling
        self._form = form

    @property
    def started(self) -> bool:
        """Whether the status has been told."""
        return self._telling.started

    async def send(self, piece: bytes, process: ScoringProcess) -> None:
        """Send a part; the process waits until it is taken."""
        if not self.started:
            version = process.model["version"].encode()
            kind = (b"content-type", self._form.content_type)
            await self._telling.start([kind, (b"x-model-version", version)])
        await self._telling.body(piece, more=True)

    async def finish(self) -> None:
        """Say that this was all."""
        await self._telling.body(b"", more=False)

    async def fail(self, error: Exception, request_id: str) -> None:
        """End by an error: JSON lines by one that tells it, and either by no proper end.

        The connection breaks then, so that no reader takes the answer for whole.
        """
        if isinstance(self._form, NdjsonFormat):
            status, document = answer_to(error, request_id)
            await self._telling.body(error_line({**document, "status": status}), more=True)


def check_announced(scope: Scope, most: int) -> None:
    """Refuse a body that says itself that it is too long.

    Raises
    ------
    HTTPException
        413.
    """
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > most:
        raise HTTPException(413, f"the body is too large: at most {most} bytes are taken")


def is_gzipped(scope: Scope) -> bool:
    """Whether the body is gzipped.

    Raises
    ------
    HTTPException
        415 when it is packed in another way.
    """
    given = (header(scope, b"content-encoding") or b"identity").strip().lower()
    if given not in (b"identity", b"gzip", b"x-gzip"):
        raise HTTPException(415, "of content encodings, gzip is taken")
    return given != b"identity"


def wants_stream(scope: Scope, form: Format) -> bool:
    """Whether the query says ``stream=true``.

    Raises
    ------
    UsageError
        When it says something else than true or false, or the format cannot be streamed.
    """
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    value = query.get("stream", ["false"])[-1].lower()
    if value not in ("true", "1", "false", "0"):
        raise UsageError("stream must be true or false")
    if value in ("true", "1") and isinstance(form, JsonFormat):
        raise UsageError("one JSON document cannot be streamed", hint="send JSON lines or CSV")
    return value in ("true", "1")


def replaying(body: bytes) -> Receive:
    """A channel that brings a body that was read already."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
