"""A trial's figures, read back from counters of all workers, or of all servers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cached_property
from math import inf

from prometheus_client import Metric

from fedrisk.serving.trial_report import (
    Answered,
    Compared,
    LevelChange,
    Shadowed,
    Timing,
    TrialReport,
    timing,
)

#: Figure that says when both were first served together.
STARTED = "trial_started_timestamp_seconds"


class TrialFigures:
    """One pair's figures, added up over workers, or servers, where there are several.

    Parameters
    ----------
    metrics : iterable of Metric
        What `/metrics` tells.
    champion, challenger : str
        Versions.
    """

    def __init__(self, metrics: Iterable[Metric], champion: str, challenger: str) -> None:
        self._metrics = metrics
        self._versions = {"version": challenger, "against": champion}
        self._reversed = {"version": champion, "against": challenger}

    @cached_property
    def _samples(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        found = defaultdict(list)
        for metric in self._metrics:
            for sample in metric.samples:
                found[sample.name].append((sample.labels, sample.value))
        return found

    def _matching(self, name: str, labels: dict[str, str]) -> list[tuple[dict[str, str], float]]:
        return [each for each in self._samples.get(name, ()) if labels.items() <= each[0].items()]

    def _sum(self, name: str, labels: dict[str, str]) -> float:
        return sum(value for _, value in self._matching(name, labels))

    def _buckets(self, name: str, labels: dict[str, str]) -> dict[float, float]:
        found = self._matching(f"{name}_bucket", labels)
        return {float(each["le"]): value for each, value in found}

    def _timing(self, name: str, labels: dict[str, str]) -> Timing | None:
        return timing(self._buckets(name, labels), self._sum(f"{name}_sum", labels))

    def _answered(self, who: str, labels: dict[str, str]) -> Answered:
        return Answered(
            version=labels["version"],
            requests=int(self._buckets(f"{who}_seconds", labels).get(inf, 0)),
            rows=int(self._sum(f"{who}_rows_total", labels)),
            errors=int(self._sum(f"{who}_errors_total", labels)),
            seconds=self._timing(f"{who}_seconds", labels),
        )

    def _shadowed(self) -> Shadowed:
        labels = self._versions | {"role": "shadow"}
        return Shadowed(
            rows=int(self._sum("challenger_rows_total", labels)),
            errors=int(self._sum("challenger_errors_total", labels)),
            dropped=int(self._sum("challenger_dropped_rows_total", self._versions)),
            seconds=self._timing("challenger_seconds", labels),
        )

    def _compared(self) -> Compared:
        name = "challenger_risk_difference"
        buckets = self._buckets(name, self._versions)
        rows = buckets.get(inf, 0.0)
        total = self._sum(f"{name}_sum", self._versions)
        changes = self._matching("challenger_level_changes_total", self._versions)
        return Compared(
            rows=int(rows),
            mean=total / rows if rows else None,
            above={b: 1 - count / rows for b, count in buckets.items() if b < inf} if rows else {},
            level_changes=tuple(
                LevelChange(labels["champion"], labels["challenger"], int(value))
                for labels, value in sorted(changes, key=lambda each: sorted(each[0].items()))
            ),
        )

    def report(self, name: str, share: float, *, shadow: bool) -> TrialReport:
        """The figures, as `GET /trial` answers them."""
        started = self._sum(STARTED, self._versions)
        return TrialReport(
            name=name,
            since=datetime.fromtimestamp(started, UTC),
            share=share,
            shadow=shadow,
            champion=self._answered("trial_champion", self._reversed),
            challenger=self._answered("challenger", self._versions | {"role": "canary"}),
            shadowed=self._shadowed(),
            compared=self._compared(),
        )
