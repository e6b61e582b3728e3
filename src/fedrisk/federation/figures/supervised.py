"""Figures of one supervised set of processes: whether it is ready, and how its children are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fedrisk import __version__
from fedrisk.errors import FederationError
from fedrisk.federation.provisioning.certificates import expiry

#: Children as `fedrisk.federation.supervision.supervisor.Supervisor.report` tells them.
Children = Mapping[str, Mapping[str, Any]]


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """One number."""
    return GaugeMetricFamily(name, text, value=value)


class SupervisedFigures(Collector):
    """Readiness and children.

    Parameters
    ----------
    service : str
        ``coordinator`` or ``site``.
    ready : callable
    children : callable
        How each child is now; nothing while none is supervised.
    losses : callable
        How often the guardian of all children was lost.
    """

    def __init__(
        self,
        service: str,
        ready: Callable[[], bool],
        children: Callable[[], Children],
        losses: Callable[[], int],
    ) -> None:
        self._service, self._ready = service, ready
        self._children, self._losses = children, losses

    def collect(self) -> Iterator[Metric]:
        """Look now."""
        info = GaugeMetricFamily("service_info", "1.", labels=["service", "version"])
        info.add_metric([self._service, __version__], 1.0)
        yield info
        yield gauge("service_ready", "1 while /ready is 200.", float(self._ready()))
        running = GaugeMetricFamily("child_running", "1 while it does its work.", labels=["child"])
        restarts = CounterMetricFamily("child_restarts", "Ends of a process.", labels=["child"])
        for name, how in self._children().items():
            running.add_metric([name], float(how["state"] == "running"))
            restarts.add_metric([name], float(how["restarts"]))
        yield running
        yield restarts
        text = "Times that all children ended with their guardian."
        yield CounterMetricFamily("guardian_losses", text, value=float(self._losses()))


class CertificateFigures(Collector):
    """When certificates end.

    Parameters
    ----------
    files : mapping of str to Path
        By what they are called.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)

    def collect(self) -> Iterator[Metric]:
        """Read each; one that cannot be read is left out, and its figure is absent."""
        ends = GaugeMetricFamily(
            "certificate_expiry_timestamp_seconds",
            "End of its validity, in seconds since 1970.",
            labels=["certificate"],
        )
        for name, file in self._files.items():
            try:
                ends.add_metric([name], expiry(file).timestamp())
            except FederationError:
                continue
        yield ends
