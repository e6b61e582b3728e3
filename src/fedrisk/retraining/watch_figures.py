"""The watch's figures for Prometheus: what was found last, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Gauge

from fedrisk.monitoring.verdict import Severity, Status
from fedrisk.retraining.states import STATES
from fedrisk.retraining.watch import Finished

_STATUSES: tuple[str, ...] = get_args(Status)
_SEVERITIES: tuple[str, ...] = get_args(Severity)


class WatchFigures:
    """Figures of drift, retraining and the watch itself.

    Parameters
    ----------
    clock : callable
        The time, with its zone.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.registry = CollectorRegistry()
        self._ran = self._gauge(
            "watch_last_run_timestamp_seconds", "When a command ended last.", "command"
        )
        self._code = self._gauge("watch_last_exit_code", "How it ended.", "command")
        self._status = self._gauge("drift_status", "1 for the last verdict's status.", "status")
        self._severity = self._gauge("drift_severity", "0 none, 1 low, 2 medium, 3 high.")
        self._effect = self._gauge(
            "drift_feature_effect", "Distance as a multiple of what matters.", "feature"
        )
        self._q_value = self._gauge("drift_feature_q_value", "False-discovery rate.", "feature")
        self._site_rows = self._gauge("drift_site_rows", "Rows that were judged.", "site")
        self._site_faulty = self._gauge("drift_site_faulty", "1 where data are broken.", "site")
        self._state = self._gauge("retraining_state", "1 for the last state.", "state")
        self._gate = self._gauge("retraining_gate", "1 for the last gate's verdict.", "verdict")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def __call__(self, command: str, done: Finished) -> None:
        """Take note of a command's end."""
        self._ran.labels(command).set(self._clock().timestamp())
        self._code.labels(command).set(done.code)
        answer = done.answer
        if answer is None or "error" in answer:
            return
        if command == "drift":
            self._drift(answer)
        elif command == "retrain":
            self._retraining(answer)

    def _drift(self, verdict: Mapping[str, Any]) -> None:
        for status in _STATUSES:
            self._status.labels(status).set(verdict.get("verdict") == status)
        severity = str(verdict.get("severity", "none"))
        self._severity.set(_SEVERITIES.index(severity) if severity in _SEVERITIES else 0)
        self._effect.clear()
        self._q_value.clear()
        for feature, found in verdict.get("per_feature", {}).items():
            self._effect.labels(feature).set(found.get("effect") or 0.0)
            if found.get("q_value") is not None:
                self._q_value.labels(feature).set(found["q_value"])
        self._site_rows.clear()
        self._site_faulty.clear()
        for site, found in verdict.get("per_site", {}).items():
            self._site_rows.labels(site).set(found.get("rows", 0.0))
            self._site_faulty.labels(site).set(found.get("status") == "quality")

    def _retraining(self, loop: Mapping[str, Any]) -> None:
        for state in STATES:
            self._state.labels(state).set(loop.get("state") == state)
        self._gate.clear()
        verdict = (loop.get("gate") or {}).get("verdict")
        if verdict:
            self._gate.labels(verdict).set(1)
