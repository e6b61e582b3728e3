"""Figures of a site: what left it, and whether the way to its coordinator is free."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fedrisk.attestation import Head
from fedrisk.errors import FedriskError
from fedrisk.federation.figures.coordinator import egress_families

#: How a question may end at a site, as its log has it.
OUTCOMES = ("released", "refused")


class SiteFigures(Collector):
    """What lies in a site's folder.

    Parameters
    ----------
    folder : Path
    site : str
    fault : callable
        What stands between site and coordinator; empty for nothing.
    """

    def __init__(self, folder: Path, site: str, fault: Callable[[], str]) -> None:
        self._egress, self._site, self._fault = folder / "egress", site, fault
        self._answers = AnswerCounts(self._egress / "log.jsonl")

    def collect(self) -> Iterator[Metric]:
        """Read it; what cannot be read is left out, and its figures are absent."""
        fault = GaugeMetricFamily(
            "site_connection_fault",
            "1 while something stands between site and coordinator.",
            labels=["site"],
        )
        fault.add_metric([self._site], float(bool(self._fault())))
        yield fault
        entries, times = egress_families()
        with suppress(FedriskError, OSError, ValueError, TypeError):
            text = (self._egress / "head.json").read_text(encoding="utf-8")
            head = Head.from_document(json.loads(text))
            times.add_metric([self._site], datetime.fromisoformat(head.time).timestamp())
            entries.add_metric([self._site], float(head.sequence))
        yield entries
        yield times
        answers = CounterMetricFamily(
            "egress_answers", "Questions by how the site's gate ended them.",
            labels=["site", "outcome"],
        )  # fmt: skip
        for outcome, count in self._answers.look().items():
            answers.add_metric([self._site, outcome], float(count))
        yield answers


class AnswerCounts:
    """Outcomes in an egress log, counted on from where the last look ended.

    Parameters
    ----------
    log : Path
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = 0
        self._counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self._lock = threading.Lock()

    def look(self) -> Counter[str]:
        """Every outcome that there was, with its number; those of `OUTCOMES` also where 0."""
        with self._lock:
            with suppress(OSError):
                self._read()
            return Counter(dict(self._counts))

    def _read(self) -> None:
        with self._log.open("rb") as file:
            if file.seek(0, 2) < self._offset:  # another log in its place
                self._offset, self._counts = 0, Counter(dict.fromkeys(OUTCOMES, 0))
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is being written
                self._offset += len(line)
                with suppress(ValueError, AttributeError):
                    self._counts[str(json.loads(line).get("outcome", "?"))] += 1
