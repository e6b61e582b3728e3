"""The challenger in service: it answers a share of the requests, or scores them in the shadow.

The share is taken by a hash of the caller's key or the request's id, so that a caller who sends the
same key meets the same model. In the shadow the challenger scores rows that the champion has
answered, later and from a bounded queue: rows that do not fit are dropped and counted.

Both judge service, not outcomes: whether the challenger loads, answers, and how far its risks are
from the champion's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from time import perf_counter
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

from fedrisk.errors import FedriskError, ModelNotFoundError
from fedrisk.serving.champion import Champion, ServedModel
from fedrisk.serving.request import Row

#: Differences of risk, without their sign.
DIFFERENCE_BUCKETS = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
#: Seconds of a request that it answered, or of a row in the shadow.
SECONDS_BUCKETS = (0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0)
#: Rows that are scored between two turns of the event loop.
ROWS_AT_ONCE = 100
CANARY_KEY = b"x-canary-key"

Role = Literal["canary", "shadow"]


class Challenger(Champion):
    """The challenger's cache; one that was taken away or is refused is not used any more."""

    def _refuse(self, error: FedriskError) -> None:
        self.served = None
        super()._refuse(error)


@dataclass(frozen=True, slots=True)
class TrialRules:
    """How a challenger is tried.

    Attributes
    ----------
    share : float
        Part of the requests that it answers, from 0 to 1.
    shadow : bool
        Whether it scores what the champion answered.
    most_rows : int
        Rows that may wait to be scored in the shadow.
    """

    share: float = 0.0
    shadow: bool = False
    most_rows: int = 20_000


def in_share(key: bytes, share: float) -> bool:
    """Whether a key belongs to the share that the challenger answers; always the same answer.

    >>> [in_share(b"ward-7", share) for share in (0.0, 1.0)]
    [False, True]
    """
    return int.from_bytes(blake2b(key, digest_size=8).digest()) < share * 2.0**64


class TrialMetrics:
    """Figures of a challenger, by its version."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loads = Counter(
            "challenger_loads",
            "Challengers found in the cache, by whether they were taken or refused.",
            ("result",),
            registry=registry,
        )
        self.rows = Counter(
            "challenger_rows", "Rows it scored.", ("version", "role"), registry=registry
        )
        self.errors = Counter(
            "challenger_errors",
            "Requests or rows that it could not score.",
            ("version", "role"),
            registry=registry,
        )
        self.dropped = Counter(
            "challenger_dropped_rows", "Rows that did not fit the queue.", registry=registry
        )
        self.difference = Histogram(
            "challenger_risk_difference",
            "Difference of its risk from the champion's, without the sign.",
            ("version",),
            buckets=DIFFERENCE_BUCKETS,
            registry=registry,
        )
        self.changes = Counter(
            "challenger_level_changes",
            "Rows to which it gives another risk level than the champion.",
            ("version", "champion", "challenger"),
            registry=registry,
        )
        self.seconds = Histogram(
            "challenger_seconds",
            "Seconds of a request that it answered, or of a row in the shadow.",
            ("version", "role"),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        for result in ("taken", "refused"):
            self._loads.labels(result)

    def loaded(self, news: ServedModel | FedriskError) -> None:
        """Count a challenger that was taken or refused; that there is none is neither."""
        if not isinstance(news, ModelNotFoundError):
            refused = isinstance(news, FedriskError)
            self._loads.labels("refused" if refused else "taken").inc()


@dataclass(frozen=True, slots=True)
class ShadowJob:
    """Rows that the champion answered, with its risks."""

    champion: ServedModel
    rows: Sequence[Row]
    risks: Sequence[float]


class Trial:
    """Decides which model answers, and lets the challenger score in the shadow.

    Parameters
    ----------
    challenger : Challenger
    rules : TrialRules
    metrics : TrialMetrics
    """

    def __init__(self, challenger: Challenger, rules: TrialRules, metrics: TrialMetrics) -> None:
        self.challenger = challenger
        self.rules = rules
        self.metrics = metrics
        self._jobs: deque[ShadowJob] = deque()
        self._waiting = 0
        self._news = asyncio.Event()

    def opponent(self, champion: ServedModel) -> ServedModel | None:
        """The challenger, where it can be asked what the champion is asked."""
        found = self.challenger.served
        if found is None or found.stored.digest == champion.stored.digest:
            return None
        same = found.stored.model.study.hash == champion.stored.model.study.hash
        return found if same else None

    def canary(self, champion: ServedModel, key: bytes) -> ServedModel | None:
        """The challenger, where it answers this request."""
        return self.opponent(champion) if in_share(key, self.rules.share) else None

    def answered(self, challenger: ServedModel, rows: int, seconds: float) -> None:
        """Count a request that the challenger answered."""
        version = challenger.stored.version
        self.metrics.rows.labels(version, "canary").inc(rows)
        self.metrics.seconds.labels(version, "canary").observe(seconds)

    def failed(self, challenger: ServedModel, role: Role) -> None:
        """Count what the challenger could not score."""
        self.metrics.errors.labels(challenger.stored.version, role).inc()

    def shadow(self, champion: ServedModel, rows: Sequence[Row], risks: Sequence[float]) -> None:
        """Let the challenger score these rows later, where they fit the queue."""
        if not self.rules.shadow or self.opponent(champion) is None:
            return
        if self._waiting + len(rows) > self.rules.most_rows:
            self.metrics.dropped.inc(len(rows))
            return
        self._jobs.append(ShadowJob(champion, rows, risks))
        self._waiting += len(rows)
        self._news.set()

    async def run(self) -> None:
        """Score what waits, for ever, a few rows at a time."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._jobs:
                job = self._jobs.popleft()
                for start in range(0, len(job.rows), ROWS_AT_ONCE):
                    self._score(job, start)
                    await asyncio.sleep(0)
                self._waiting -= len(job.rows)

    def _score(self, job: ShadowJob, start: int) -> None:
        challenger = self.opponent(job.champion)
        if challenger is None:
            return
        part = slice(start, start + ROWS_AT_ONCE)
        began = perf_counter()
        for row, risk in zip(job.rows[part], job.risks[part], strict=True):
            try:
                other = challenger.scorer.risk(row)
                self._compare(job.champion, challenger, risk, other)
            except Exception:  # noqa: BLE001 whatever it is, nobody waits for this answer
                self.failed(challenger, "shadow")
        version, rows = challenger.stored.version, len(job.rows[part])
        self.metrics.rows.labels(version, "shadow").inc(rows)
        self.metrics.seconds.labels(version, "shadow").observe((perf_counter() - began) / rows)

    def _compare(
        self, champion: ServedModel, challenger: ServedModel, risk: float, other: float
    ) -> None:
        version = challenger.stored.version
        self.metrics.difference.labels(version).observe(abs(other - risk))
        before, after = champion.scorer.level(risk), challenger.scorer.level(other)
        if before != after:
            self.metrics.changes.labels(version, before, after).inc()

    def document(self) -> dict[str, Any]:
        """What `/ready` tells of the challenger."""
        served = self.challenger.served
        about = {"share": self.rules.share, "shadow": self.rules.shadow}
        if served is not None:
            return {**about, "model": served.identity}
        return {**about, "model": None, "refused": self.challenger.refused}
