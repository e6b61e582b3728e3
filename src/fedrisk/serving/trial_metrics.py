"""A trial's counters, moved where requests are answered."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fedrisk.errors import FedriskError, ModelNotFoundError
from fedrisk.serving.champion import ServedModel
from fedrisk.serving.trial_figures import STARTED

#: Differences of risk, without their sign.
DIFFERENCE_BUCKETS = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
#: Seconds of a request that a model answered, or of a row in the shadow.
SECONDS_BUCKETS = (
    *(0.000005, 0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001),
    *(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0),
)
PAIR = ("version", "against")


class TalliedHistogram(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add observations by their buckets, and their sum."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class Side:
    """Counters of one model in one role.

    A request moves plain numbers, which `flush` adds to Prometheus' own: moving those at once,
    behind their lock or in the workers' shared files, would cost microseconds a request.
    """

    __slots__ = ("_counts", "_rows", "_seconds", "_tally", "_total", "errors")

    def __init__(self, rows: Any, errors: Any, seconds: Any) -> None:
        self.errors = errors
        self._rows, self._seconds = rows, seconds
        self._clear()

    def _clear(self) -> None:
        self._tally, self._total = 0, 0.0
        self._counts = [0] * (len(SECONDS_BUCKETS) + 1)

    def answered(self, rows: int, seconds: float) -> None:
        """Count rows, and how long they took."""
        self._tally += rows
        self._total += seconds
        self._counts[bisect_left(SECONDS_BUCKETS, seconds)] += 1

    def flush(self) -> None:
        """Let Prometheus' counters have what was counted."""
        if self._tally:
            self._rows.inc(self._tally)
            self._seconds.add(self._counts, self._total)
            self._clear()


class PairFigures:
    """Counters of one challenger against one champion."""

    def __init__(self, metrics: TrialMetrics, champion: str, challenger: str) -> None:
        pair = (challenger, champion)
        self.champion = metrics.champion.side(champion, challenger)
        self.canary = metrics.challenger.side(*pair, "canary")
        self.shadow = metrics.challenger.side(*pair, "shadow")
        self.dropped: Any = metrics.dropped.labels(*pair)
        self.difference: Any = metrics.difference.labels(*pair)
        self._changes = metrics.changes
        self._pair = pair

    def flush(self) -> None:
        """Let Prometheus' counters have what was counted."""
        for side in (self.champion, self.canary, self.shadow):
            side.flush()

    def level_changed(self, before: str, after: str) -> None:
        """Count a row that the challenger puts on another level."""
        self._changes.labels(*self._pair, before, after).inc()


class SideMetrics:
    """Counters of champions, or of challengers."""

    def __init__(self, who: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self.who = who
        self._rows = Counter(f"{who}_rows", "Rows it scored.", labels, registry=registry)
        self._errors = Counter(
            f"{who}_errors", "Requests or rows that it could not score.", labels, registry=registry
        )
        self._seconds = TalliedHistogram(
            f"{who}_seconds",
            "Seconds of a request that it answered, or of a row in the shadow.",
            labels,
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

    def side(self, *labels: str) -> Side:
        """Those of one model."""
        metrics = (self._rows, self._errors, self._seconds)
        return Side(*(each.labels(*labels) for each in metrics))


class TrialMetrics:
    """Figures of champions and challengers, by their versions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loads = Counter(
            "challenger_loads",
            "Challengers found in the cache, by whether they were taken or refused.",
            ("result",),
            registry=registry,
        )
        self.challenger = SideMetrics("challenger", (*PAIR, "role"), registry)
        self.champion = SideMetrics("trial_champion", PAIR, registry)
        self.dropped = Counter(
            "challenger_dropped_rows", "Rows that did not fit the queue.", PAIR, registry=registry
        )
        self.difference = Histogram(
            "challenger_risk_difference",
            "Difference of its risk from the champion's, without the sign.",
            PAIR,
            buckets=DIFFERENCE_BUCKETS,
            registry=registry,
        )
        self.changes = Counter(
            "challenger_level_changes",
            "Rows to which it gives another risk level than the champion.",
            (*PAIR, "champion", "challenger"),
            registry=registry,
        )
        self._since = Gauge(
            STARTED,
            "When both were first served together, in seconds since 1970.",
            PAIR,
            registry=registry,
            multiprocess_mode="min",  # a worker that ended keeps its say, as its counters do
        )
        self._started: set[tuple[str, str]] = set()
        for result in ("taken", "refused"):
            self._loads.labels(result)

    def loaded(self, news: ServedModel | FedriskError) -> None:
        """Count a challenger that was taken or refused; that there is none is neither."""
        if not isinstance(news, ModelNotFoundError):
            refused = isinstance(news, FedriskError)
            self._loads.labels("refused" if refused else "taken").inc()

    def pair(self, champion: ServedModel, challenger: ServedModel, at: datetime) -> PairFigures:
        """The counters of two models that serve together now."""
        versions = (challenger.stored.version, champion.stored.version)
        if versions not in self._started:
            self._started.add(versions)
            self._since.labels(*versions).set(at.timestamp())
        return PairFigures(self, champion.stored.version, challenger.stored.version)
