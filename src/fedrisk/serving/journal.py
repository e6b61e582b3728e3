"""The audit journal: who asked what of which model, one JSON line a prediction request.

A line names no feature and no score. Lines are written by a thread of their own, so that a full
disk or a pipe that nobody reads neither fails nor slows a prediction: what finds no room in the
queue is counted as lost. In the strict mode a request waits for its line, and is answered by 503
where there will be none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

import orjson
from prometheus_client import CollectorRegistry, Counter
from starlette.types import Scope

from fedrisk.serving.journal_target import Target
from fedrisk.serving.metrics import counted_as

_log = logging.getLogger("fedrisk.serving")
#: Where an endpoint leaves, in the scope, which model scored how many rows: (identity, rows).
SCORED = "fedrisk.scored"
#: What a line is written for, by the names that figures have; each of them by POST.
PREDICTIONS = frozenset(
    (
        *("/predict", "/predict/batch", "/jobs", "/v2/infer"),
        *("/fhir/RiskAssessment", "/cds-services", "grpc"),
    )
)
#: Lines that wait at most, and that are written at a time.
#: A thread that makes many lines at once would keep the event loop waiting for the interpreter.
MOST, BATCH = 20_000, 100
#: Seconds between two writes, that a strict request waits, and that the end waits for the writer.
PAUSE, STRICT_PATIENCE, STOP_PATIENCE = 0.1, 1.0, 3.0


_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


class Entry(NamedTuple):
    """What a line is made of.

    Attributes
    ----------
    at : float
        Seconds since 1970.
    path : str
        Told under the name that figures have for it.
    scored : tuple or None
        The model's identity and the rows; None where nothing was scored.
    status : int
        0 where nothing was answered.
    waiting : asyncio.Future or None
        Of a strict request.
    """

    at: float
    request_id: str
    key_id: str | None
    path: str
    scored: tuple[dict[str, str], int] | None
    status: int
    waiting: asyncio.Future[bool] | None = None

    def line(self) -> bytes:
        """The entry as JSON, with the line's end."""
        model, rows = self.scored or ({}, 0)
        document = {
            "time": datetime.fromtimestamp(self.at, UTC),
            "request_id": self.request_id,
            "key_id": self.key_id,
            "endpoint": counted_as(self.path),
            "model": model.get("name"),
            "version": model.get("version"),
            "rows": rows,
            "status": self.status,
        }
        return orjson.dumps(document, option=_LINE)


class Journal:
    """Keeps lines until a thread has written them.

    Parameters
    ----------
    target : Target
    clock : callable
        Seconds since 1970.
    strict : bool
        Whether requests wait for their lines.
    most : int
        Lines that wait; what comes when there are so many is lost.
    """

    def __init__(
        self, target: Target, clock: Callable[[], float], *, strict: bool = False, most: int = MOST
    ) -> None:
        self.strict = strict
        self._target = target
        self._clock = clock
        self._most = most
        #: Fields of entries; making entries of them is the writer's work.
        self._queue: deque[tuple[Any, ...]] = deque()
        #: Taken from the queue, not yet written.
        self._pending: list[Entry] = []
        self._wake = Event()
        self._ending = False
        self._fault = ""
        self._lost = self._told = 0
        self._losing = Lock()
        self._counter: Counter | None = None
        self._thread = Thread(target=self._run, name="audit journal", daemon=True)

    def count_in(self, registry: CollectorRegistry) -> None:
        """Count lost lines among an application's figures."""
        self._counter = Counter(
            "audit_lines_lost",
            "Lines of the audit journal that could not be kept.",
            registry=registry,
        )

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def add(self, scope: Scope, status: int) -> None:
        """Take the line of an answered request; at once, whatever becomes of it."""
        self._take(scope, status, None)

    async def keep(self, scope: Scope, status: int) -> bool:
        """Whether the line of a request is written; for the strict mode."""
        waiting = asyncio.get_running_loop().create_future()
        if not self._take(scope, status, waiting):
            return False
        self._wake.set()
        try:
            return await asyncio.wait_for(waiting, STRICT_PATIENCE)
        except TimeoutError:
            return False

    def _take(self, scope: Scope, status: int, waiting: asyncio.Future[bool] | None) -> bool:
        if len(self._queue) >= self._most:
            self._lose(1)
            return False
        self._queue.append(
            (
                self._clock(),
                scope["request_id"],
                scope.get("key_id"),
                scope["path"],
                scope.get(SCORED),
                status,
                waiting,
            )
        )
        return True

    def stop(self) -> None:
        """Write what waits; what cannot be written in a few seconds is lost, and told."""
        self._ending = True
        self._wake.set()
        self._thread.join(STOP_PATIENCE)
        left = len(self._pending) + len(self._queue)
        if left:
            self._lose(left)
        if self._thread.is_alive():
            return  # its write never returns, and needs the target as it is
        self._tell()
        self._target.close()

    def _run(self) -> None:
        while not self._ending:
            self._wake.wait(PAUSE)
            self._wake.clear()
            while self._flush() and (self._pending or len(self._queue) >= BATCH):
                pass
        while self._flush():
            pass

    def _flush(self) -> bool:
        """Write one batch; whether any line was written."""
        while self._queue and len(self._pending) < BATCH:
            self._pending.append(Entry(*self._queue.popleft()))
        if not self._pending:
            return False
        try:
            written = self._target.write([entry.line() for entry in self._pending])
        except OSError as error:
            self._failed(error)
            return False
        done = self._pending[:written]
        del self._pending[:written]
        _settle(done, kept=True)
        self._fault = ""
        self._tell()
        return True

    def _failed(self, error: OSError) -> None:
        """Keep the lines for later; those that a strict request waits for are given up."""
        reason = error.strerror or str(error)
        if reason != self._fault:
            _log.error("the audit journal cannot be written: %s", reason)
        self._fault = reason
        given_up = [entry for entry in self._pending if entry.waiting is not None]
        self._pending = [entry for entry in self._pending if entry.waiting is None]
        if given_up:
            self._lose(len(given_up))
            _settle(given_up, kept=False)

    def _lose(self, lines: int) -> None:
        with self._losing:
            first = self._lost == self._told
            self._lost += lines
        if first:
            _log.error("lines of the audit journal are being lost")
        if self._counter is not None:
            self._counter.inc(lines)

    def _tell(self) -> None:
        """Say how many lines were lost, once it goes on."""
        if self._lost > self._told:
            _log.error("%d lines of the audit journal were lost", self._lost - self._told)
            self._told = self._lost


def concerns(scope: Scope) -> bool:
    """Whether a request is one that the journal has a line for."""
    path = scope["path"]
    # The first question saves the second where it matters: most requests are single predictions.
    return scope["method"] == "POST" and (path in PREDICTIONS or counted_as(path) in PREDICTIONS)


def _settle(entries: list[Entry], *, kept: bool) -> None:
    """Tell strict requests, whose event loop is another thread's."""
    waiting = [entry.waiting for entry in entries if entry.waiting is not None]
    if waiting:
        waiting[0].get_loop().call_soon_threadsafe(_answer, waiting, kept)


def _answer(waiting: list[asyncio.Future[bool]], kept: bool) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(kept)
