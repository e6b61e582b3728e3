"""Prometheus figures of the API, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from fedrisk import __version__
from fedrisk.errors import FedriskError
from fedrisk.serving.champion import ServedModel
from fedrisk.serving.scoring import LEVELS

#: Seconds; a prediction takes well under a millisecond of work.
LATENCY_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
#: Paths that are counted by name; what strangers make up is counted together.
ENDPOINTS = frozenset(
    (
        *("/", "/predict", "/predict/batch", "/health", "/ready", "/metrics", "/model", "/docs"),
        *("/webhooks/mlflow", "/trial", "/jobs"),
    )
)
#: Paths with names in them, counted together: how they begin, how they end, as what.
FAMILIES = (
    ("/v2/models/", "/infer", "/v2/infer"),
    ("/fhir/RiskAssessment", "", "/fhir/RiskAssessment"),
    ("/cds-services/", "", "/cds-services"),
    ("/jobs/", "", "/jobs"),
    ("/inference.GRPCInferenceService/", "ModelInfer", "grpc"),
)


def counted_as(path: str) -> str:
    """The name that a path's figures have.

    >>> counted_as("/predict"), counted_as("/v2/models/m/infer"), counted_as("/made/up")
    ('/predict', '/v2/infer', 'other')
    """
    if path in ENDPOINTS:
        return path
    for start, end, name in FAMILIES:
        if path.startswith(start) and path.endswith(end):
            return name
    return "other"


class ServingMetrics:
    """Counters that the endpoints move.

    Parameters
    ----------
    registry : CollectorRegistry
        Where the figures are collected; each app has its own.
    shared : str
        Folder of the figures of several worker processes, which are added up; empty for one.
    """

    def __init__(self, registry: CollectorRegistry, shared: str = "") -> None:
        self.registry = registry
        self._shared = shared
        self._predictions = Counter(
            "predictions",
            "Rows scored, by endpoint, risk level and model version.",
            ("endpoint", "level", "version"),
            registry=registry,
        )
        self._latency = Histogram(
            "prediction_latency_seconds",
            "From the arrival of a request's head to the answer, by endpoint.",
            ("endpoint",),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "prediction_errors",
            "Requests answered with an error, by endpoint and HTTP status.",
            ("endpoint", "status"),
            registry=registry,
        )
        self._implausible = Counter(
            "prediction_implausible_values",
            "Values accepted outside the study's plausible range, by feature.",
            ("feature",),
            registry=registry,
        )
        self._connections = Counter(
            "connections_ended",
            "Connections refused, or ended because a caller took too long, by what for.",
            ("reason",),
            registry=registry,
        )
        self._model = Gauge(
            "model_info",
            "1 for the model that serves now.",
            ("name", "version", "run_id", "digest"),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._loads = Counter(
            "model_loads",
            "Models found in the cache, by whether they were taken or refused.",
            ("result",),
            registry=registry,
        )
        self._loaded_at = Gauge(
            "model_loaded_timestamp_seconds",
            "When the serving model was loaded, in seconds since 1970.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._created_at = Gauge(
            "model_created_timestamp_seconds",
            "When the serving model was trained, in seconds since 1970.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._capture_lag = Gauge(
            "capture_lag_seconds",
            "Age of the oldest counted rows that may leave and that the store does not hold yet.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._capture_failing = Gauge(
            "capture_store_failing",
            "1 while the store of monitoring windows does not take what is counted.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        for result in ("taken", "refused"):
            self._loads.labels(result)
        if not shared:
            ProcessCollector(registry=registry)
        #: Called before figures are told; replaced by whoever keeps some back.
        self.flush: Callable[[], None] = lambda: None
        self._collectors: list[Collector] = []
        self._serving: Any = None
        self._children: dict[tuple[str, str, str], Any] = {}

    def predicted(self, endpoint: str, level: str, version: str, rows: int = 1) -> None:
        """Count scored rows."""
        key = (endpoint, level, version)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._predictions.labels(*key)
        child.inc(rows)

    def implausible(self, feature: str, rows: int = 1) -> None:
        """Count values outside a feature's plausible range."""
        self._implausible.labels(feature).inc(rows)

    def latency(self, endpoint: str) -> Any:
        """The histogram of one endpoint's seconds; ``observe`` it."""
        return self._latency.labels(endpoint)

    def failed(self, endpoint: str, status: int) -> None:
        """Count an answer that is an error."""
        self._errors.labels(counted_as(endpoint), str(status)).inc()

    def connection_ended(self, reason: str) -> None:
        """Count a connection that was refused or cut off."""
        self._connections.labels(reason).inc()

    def model_changed(self, news: ServedModel | FedriskError) -> None:
        """Take note of a model that now serves, or of one that was refused."""
        if isinstance(news, FedriskError):
            self._loads.labels("refused").inc()
            return
        stored = news.stored
        self._loads.labels("taken").inc()
        if self._serving is not None:
            self._serving.set(0)  # several processes cannot take a label back
        if not self._shared:
            self._model.clear()
        labels = (stored.name, stored.version, stored.run_id, stored.digest)
        self._serving = self._model.labels(*labels)
        self._serving.set(1)
        self._loaded_at.set(news.loaded_at.timestamp())
        created = _seconds(stored.model.about.get("created"))
        if created is not None:
            self._created_at.set(created)
        self._children.clear()
        for endpoint in ("/predict", "/predict/batch"):
            for level in LEVELS:
                self.predicted(endpoint, level, stored.version, 0)

    def capture_answered(self, fault: str) -> None:
        """Take note of whether the store of monitoring windows took them."""
        self._capture_failing.set(1 if fault else 0)

    def capture_waits(self, seconds: float) -> None:
        """Take note of how long counted rows have waited for the store."""
        self._capture_lag.set(seconds)

    def collect(self, collector: Collector) -> None:
        """Expose figures that are the same in every process of a home."""
        self._collectors.append(collector)
        if not self._shared:
            self.registry.register(collector)

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format; of all workers where there are several."""
        return generate_latest(self.collected())

    def collected(self) -> CollectorRegistry:
        """Everything, added up over all workers where there are several."""
        self.flush()
        if not self._shared:
            return self.registry
        together = CollectorRegistry()
        MultiProcessCollector(together, self._shared)  # type: ignore[no-untyped-call]
        for collector in self._collectors:
            together.register(collector)
        return together


def _seconds(time: object) -> float | None:
    """Seconds since 1970 of a time in ISO 8601; None for anything else."""
    try:
        return datetime.fromisoformat(str(time)).timestamp()
    except ValueError:
        return None


class ReadyFigures(Collector):
    """Whether the process that answers a scrape is ready, and its release.

    Parameters
    ----------
    ready : callable
    """

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Look now."""
        info = GaugeMetricFamily("service_info", "1.", labels=["service", "version"])
        info.add_metric(["inference", __version__], 1.0)
        yield info
        text = "1 while /ready is 200."
        yield GaugeMetricFamily("service_ready", text, value=float(self._ready()))
