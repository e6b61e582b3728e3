"""Samples predictions by their requests' ids, and seals them off the path of requests."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from threading import Lock
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter

from fedrisk.errors import FedriskError
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.recording.files import DayFile, keep_days
from fedrisk.study.records import FloatArray

_log = logging.getLogger("fedrisk.serving")
#: Rows in one batch.
ROWS_AT_ONCE = 5_000
#: Seconds between two looks for what is too old.
KEEP_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class RecordRules:
    """What is recorded, and for how long.

    Attributes
    ----------
    share : float
        Part of the requests, from 0 to 1; 0 records nothing and still deletes what is too old.
    days : int
        Today and the days before it that are kept.
    most_rows : int
        Rows that may wait to be sealed.
    """

    share: float
    days: int
    most_rows: int = 20_000


@dataclass(frozen=True, slots=True)
class _Entry:
    at: datetime
    request_id: str
    endpoint: str
    stored: StoredModel
    rows: Sequence[Mapping[str, Any]]
    risks: Sequence[float] | FloatArray


class Recorder:
    """Takes scored rows, and hands a share of them to the day's file.

    Parameters
    ----------
    file : DayFile
    rules : RecordRules
    clock : callable
        The time, in UTC.
    """

    def __init__(self, file: DayFile, rules: RecordRules, clock: Callable[[], datetime]) -> None:
        self._file = file
        self._rules = rules
        self._clock = clock
        self._waiting: deque[_Entry] = deque()
        #: Taken from the queue and not written yet.
        self._batch: list[_Entry] = []
        #: Rows that came, and rows that went: each has one thread that moves it.
        self._noted = self._gone = 0
        self._writing = Lock()
        self._kept_at: datetime | None = None
        self._fault = ""
        self._counter: Counter | None = None

    def count_in(self, registry: CollectorRegistry) -> None:
        """Count what was recorded and what was not in this registry."""
        self._counter = Counter(
            "record_rows",
            "Rows of the sealed record, by whether they were written or dropped.",
            ("result",),
            registry=registry,
        )
        for result in ("written", "dropped"):
            self._counter.labels(result)

    def note(
        self,
        stored: StoredModel,
        endpoint: str,
        request_id: str,
        rows: Sequence[Mapping[str, Any]],
        risks: Sequence[float] | FloatArray,
    ) -> None:
        """Keep the rows of a request in mind, where it is one of the sample."""
        if not sampled(request_id, self._rules.share):
            return
        if self.waiting + len(rows) > self._rules.most_rows:
            self._count("dropped", len(rows))
            return
        self._noted += len(rows)
        self._waiting.append(_Entry(self._clock(), request_id, endpoint, stored, rows, risks))

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return self._noted - self._gone

    async def run(self, seconds: float) -> None:
        """Write for ever, every so many seconds, in a thread; once an hour delete what is old."""
        while True:
            await asyncio.to_thread(self.keep)
            await asyncio.to_thread(self.flush)
            await asyncio.sleep(seconds)

    def keep(self) -> None:
        """Delete what is too old, at the first call and then once an hour."""
        with self._writing:
            self._keep()

    def _keep(self) -> None:
        now = self._clock()
        last = self._kept_at
        if last is not None and abs((now - last).total_seconds()) < KEEP_SECONDS:
            return
        self._kept_at = now
        self._file.close_before(now.date())
        try:
            keep_days(self._file.folder, now.date(), self._rules.days)
        except FedriskError as error:
            _log.error("record: %s", error.message)

    def flush(self) -> None:
        """Write what waits; what cannot be written waits on, until there is no more room."""
        with self._writing:
            self._flush()

    def stop(self) -> None:
        """Write what waits and close the file; what cannot be written is dropped and told."""
        with self._writing:
            self._flush()
            if self.waiting:
                _log.error("record: %d rows are lost", self.waiting)
                self._count("dropped", self.waiting)
            self._file.close()

    def _flush(self) -> None:
        try:
            while self._take():
                self._write()
        except OSError as error:
            if str(error) != self._fault:
                _log.error("record: rows cannot be written: %s", error.strerror)
            self._fault = str(error)
            return
        self._fault = ""

    def _take(self) -> bool:
        """Fill the batch with entries of one day, unless it still holds some; whether it does."""
        rows = 0
        while not self._batch or rows:
            if not self._waiting or rows >= ROWS_AT_ONCE:
                break
            if self._batch and self._waiting[0].at.date() != self._batch[0].at.date():
                break
            self._batch.append(self._waiting.popleft())
            rows += len(self._batch[-1].rows)
        return bool(self._batch)

    def _write(self) -> None:
        lines = [line for entry in self._batch for line in _lines(entry)]
        self._file.append(self._batch[0].at.date(), b"".join(lines))
        self._batch.clear()
        self._gone += len(lines)
        self._count("written", len(lines))

    def _count(self, result: str, rows: int) -> None:
        if self._counter is not None:
            self._counter.labels(result).inc(rows)


def sampled(request_id: str, share: float) -> bool:
    """Whether a request belongs to the sample; always the same answer for the same id.

    The hash is another than the canary's: otherwise one would sample what the other selects.

    >>> [sampled("c7a0358085", share) for share in (0.0, 1.0)]
    [False, True]
    """
    digest = blake2b(request_id.encode(), digest_size=8, person=b"record").digest()
    return int.from_bytes(digest) < share * 2.0**64


def _lines(entry: _Entry) -> list[bytes]:
    stored = entry.stored
    head = {
        "at": entry.at.isoformat(timespec="milliseconds"),
        "request_id": entry.request_id,
        "endpoint": entry.endpoint,
        "model": stored.name,
        "version": stored.version,
    }
    return [
        orjson.dumps(
            {**head, "row": number, "risk_score": risk, "features": dict(row)},
            option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY,
        )
        for number, (row, risk) in enumerate(zip(entry.rows, entry.risks, strict=True), start=1)
    ]
