"""Figures of a coordinator's runs: how they stand, and what their rounds took since it began."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fedrisk.federation.figures.supervised import gauge
from fedrisk.federation.provisioning.roster import run_state, told_rounds, unfinished_round
from fedrisk.study.training import RoundRecord

STATES = ("running", "finished", "failed", "interrupted")
#: Of a run that will not change any more.
ENDED = frozenset({"finished", "failed"})
#: Seconds of one message to all sites and back.
BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0)
#: What says that a run has changed.
_FILES = ("progress.jsonl", "outcome.json")


@dataclass(frozen=True)
class RunFigures:
    """One run as it was seen last.

    Attributes
    ----------
    stamp : tuple of int
        When its files changed, nanoseconds since 1970.
    state : str
    rounds : int
    dropouts : Counter
        How often it went on without a site.
    """

    stamp: tuple[int, ...] = (0, 0)
    state: str = "interrupted"
    rounds: int = 0
    dropouts: Counter[str] = field(default_factory=Counter)

    @property
    def last_round(self) -> float:
        """When its last round was told, seconds since 1970; 0 before the first."""
        return self.stamp[0] / 1e9

    @property
    def ended(self) -> float:
        """When its outcome was told, seconds since 1970; 0 before that."""
        return self.stamp[1] / 1e9


@dataclass
class Durations:
    """Seconds of rounds of one kind, counted by bucket."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one round."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Rounds of at most each bucket's bound."""
        edges = [*(str(edge) for edge in BUCKETS), "+Inf"]
        return [(edge, float(sum(self.counts[: n + 1]))) for n, edge in enumerate(edges)]


class RunsFigures(Collector):
    """Runs by state, and rounds that ended since the first look.

    What ended before is not counted: folders of old runs are deleted, and a counter never falls.

    Parameters
    ----------
    folder : Path
        ``runs`` of the coordinator's home.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, RunFigures] = {}
        self._looked = False
        self._lock = threading.Lock()
        self._durations: dict[str, Durations] = defaultdict(Durations)
        self._bytes: Counter[str] = Counter()
        self.dropouts: Counter[str] = Counter()

    def look(self) -> list[RunFigures]:
        """Read what has changed since the last look, and count what is new."""
        with self._lock:
            folders = [path for path in self._folder.glob("*") if path.is_dir()]
            self._known = {folder.name: self._one(folder) for folder in folders}
            self._looked = True
            return list(self._known.values())

    def _one(self, folder: Path) -> RunFigures:
        stamp = tuple(_changed(folder / name) for name in _FILES)
        known = self._known.get(folder.name, RunFigures())
        if known.stamp == stamp and known.state in ENDED:
            return known
        rounds = told_rounds(folder)
        everyone = [*rounds, *unfinished_round(folder)]
        dropouts = Counter(site for record in everyone for site in record.dropped)
        if self._looked:
            for record in rounds[known.rounds :]:
                self._count(record)
            self.dropouts += dropouts - known.dropouts
        return RunFigures(stamp, run_state(folder, rounds).state, len(rounds), dropouts)

    def _count(self, record: RoundRecord) -> None:
        self._durations[record.kind].add(record.seconds)
        self._bytes["out"] += record.bytes_out
        self._bytes["in"] += record.bytes_in

    def collect(self) -> Iterator[Metric]:
        """Look, and tell."""
        runs = self.look()
        yield _states(runs)
        yield _ends(runs)
        yield gauge(
            "federation_last_round_timestamp_seconds",
            "When a round of any run ended last, in seconds since 1970; 0 before the first.",
            max((run.last_round for run in runs), default=0.0),
        )
        yield self._rounds()
        traffic = CounterMetricFamily(
            "federation_message_bytes", "Bytes of rounds' messages.", labels=["direction"]
        )
        for direction in ("out", "in"):
            traffic.add_metric([direction], float(self._bytes[direction]))
        yield traffic

    def _rounds(self) -> Metric:
        family = HistogramMetricFamily(
            "federation_round_duration_seconds",
            "From a question to all sites to the last answer that counts.",
            labels=["kind"],
        )
        for kind, each in sorted(self._durations.items()):
            family.add_metric([kind], each.cumulative(), each.total)
        return family


def _states(runs: list[RunFigures]) -> Metric:
    counts = Counter(run.state for run in runs)
    family = GaugeMetricFamily("federation_runs", "Runs by how they stand.", labels=["state"])
    for state in STATES:
        family.add_metric([state], float(counts[state]))
    return family


def _ends(runs: list[RunFigures]) -> Metric:
    family = GaugeMetricFamily(
        "federation_run_last_end_timestamp_seconds",
        "When a run ended so last, in seconds since 1970; 0 before the first.",
        labels=["state"],
    )
    for state in sorted(ENDED):
        times = [run.ended for run in runs if run.state == state]
        family.add_metric([state], max(times, default=0.0))
    return family


def _changed(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_mtime_ns
    return 0
