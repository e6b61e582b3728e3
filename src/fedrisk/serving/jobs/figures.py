"""Figures of jobs for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram

if TYPE_CHECKING:
    from fedrisk.serving.jobs.store import Job

_BUCKETS = (1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400)


class JobFigures:
    """Counters that the runner moves.

    Parameters
    ----------
    registry : CollectorRegistry
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter("jobs", "Jobs by how they ended.", ("state",), registry=registry)
        self._rows = Counter("job_rows", "Rows of jobs that were done.", registry=registry)
        self._seconds = Histogram(
            "job_seconds",
            "From a job's first start to its end.",
            buckets=_BUCKETS,
            registry=registry,
        )

    def ended(self, job: Job, state: str, now: float, rows: int = 0) -> None:
        """Count a job that has ended."""
        self._ended.labels(state).inc()
        self._rows.inc(rows)
        if job.started is not None:
            self._seconds.observe(max(0.0, now - job.started))
