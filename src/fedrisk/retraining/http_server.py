"""A running server as the loop sees it: what `/ready`, `/trial` and `/metrics` tell."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from fedrisk.errors import ServiceAwayError, UsageError
from fedrisk.retraining.ports import Service
from fedrisk.serving.trial_report import TrialReport, read_report

#: Seconds for one answer, and most bytes of it.
TIMEOUT, LARGEST = 10.0, 16 * 2**20
#: What the loop counts; jobs and other paths are not a model's.
SECONDS, ERRORS = "prediction_latency_seconds_bucket", "prediction_errors_total"


@dataclass(frozen=True)
class HttpServer:
    """A server of `fedrisk serve`.

    Parameters
    ----------
    url : str
        Its address, without a path.
    key : str
        API key with the scope ``metrics``; empty where it wants none.

    Raises
    ------
    UsageError
        When the address is none.
    ServiceAwayError
        From every method, when it does not answer as such a server does.
    """

    url: str
    key: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"{self.url!r} is no address", hint="such as http://127.0.0.1:8080")

    def look(self) -> Service:
        """What it serves, and how it fares."""
        ready = self._document("/ready", (200, 503))
        model = ready.get("model") or {}
        refused = ready.get("refused") or {}
        requests, errors, latency = counted(self.exposition())
        version = model.get("version")
        reason = str(refused.get("reason", ""))
        return Service(None if version is None else str(version), reason, requests, errors, latency)

    def exposition(self) -> str:
        """All its figures, in Prometheus' text format."""
        return self._get("/metrics", (200,))[1].decode(errors="replace")

    def trial(self) -> TrialReport | None:
        """How the challenger does beside the champion; None while none is tried."""
        status, body = self._get("/trial", (200, 404, 409))
        if status != 200:
            return None
        try:
            return read_report(body)
        except UsageError as error:
            raise ServiceAwayError(f"{self.url}/trial: {error.message}") from None

    def _document(self, path: str, expected: tuple[int, ...]) -> dict[str, Any]:
        body = self._get(path, expected)[1]
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ServiceAwayError(f"{self.url}{path} answers no JSON object")
        return found

    def _get(self, path: str, expected: tuple[int, ...]) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        request = urllib.request.Request(self.url.rstrip("/") + path, headers=headers)  # noqa: S310 checked above
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 checked above
                status, body = answer.status, answer.read(LARGEST)
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read(LARGEST)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ServiceAwayError(
                f"server {self.url} does not answer: {reason}", hint="--server names it"
            ) from None
        if status not in expected:
            raise ServiceAwayError(f"server {self.url}{path} answers with status {status}")
        return status, body


def counted(exposition: str) -> tuple[float, float, dict[float, float]]:
    """Requests, server's faults and cumulative counts by seconds, of Prometheus' text.

    Faults are answers with a status from 500 on, but for 503: a server that turns requests away
    because it has too much to do is not a bad model.
    """
    from prometheus_client.parser import text_string_to_metric_families

    latency: defaultdict[float, float] = defaultdict(float)
    errors = 0.0
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == SECONDS:
                latency[float(sample.labels["le"])] += sample.value
            elif sample.name == ERRORS and int(sample.labels["status"]) in {500, *range(504, 600)}:
                errors += sample.value
    return latency.get(float("inf"), 0.0), errors, dict(latency)
