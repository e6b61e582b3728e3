"""Ways to people: a log line always; Apprise and Alertmanager where they are named."""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from typing import Protocol

from fedrisk.errors import UsageError
from fedrisk.monitoring.alerts.alert import Alert
from fedrisk.monitoring.alerts.rules import ChannelRules

_log = logging.getLogger("fedrisk.alerts")
#: Seconds that a channel may take.
PATIENCE = 20.0
_LOUDNESS = {"low": logging.INFO, "medium": logging.WARNING, "high": logging.ERROR}


@dataclass(frozen=True)
class Notice:
    """An alert as it is told.

    Attributes
    ----------
    alert : Alert
    owner, runbook : str
    since : datetime
        When it was first seen.
    resolved : datetime or None
        When it was gone.
    until : datetime or None
        When it counts as gone unless it is told again, for channels that forget.
    """

    alert: Alert
    owner: str
    runbook: str
    since: datetime
    resolved: datetime | None = None
    until: datetime | None = None

    @property
    def title(self) -> str:
        """One line."""
        state = "resolved" if self.resolved is not None else self.alert.level
        return f"[fedrisk, {state}] {self.alert.title}"

    @property
    def body(self) -> str:
        """What people read."""
        lines = [self.alert.text, f"since: {self.since.isoformat(timespec='minutes')}"]
        lines += [f"owner: {self.owner}"] if self.owner else []
        lines += [f"what to do: {self.runbook}"] if self.runbook else []
        return "\n".join(line for line in lines if line)


class Channel(Protocol):
    """One way to people."""

    def send(self, notice: Notice) -> bool:
        """Tell; whether it went out."""

    def send_text(self, title: str, body: str) -> bool:
        """Tell something that is no alert; whether it went out."""


class LogChannel:
    """A line in this process's log."""

    def send(self, notice: Notice) -> bool:
        level = logging.INFO if notice.resolved else _LOUDNESS[notice.alert.level]
        _log.log(level, "%s (owner: %s)", notice.title, notice.owner or "nobody")
        return True

    def send_text(self, title: str, body: str) -> bool:
        _log.info("%s: %s", title, " | ".join(body.splitlines()))
        return True


class AppriseChannel:
    """A service that Apprise knows by its address.

    Raises
    ------
    UsageError
        When Apprise is not installed, or does not know what the address means.
    """

    def __init__(self, address: str) -> None:
        try:
            import apprise
        except ModuleNotFoundError:
            raise UsageError(
                "alerts by Apprise need it installed", hint="install fedrisk[watch]"
            ) from None
        self._service = apprise.Apprise()
        if not self._service.add(address):
            kind, separator, _ = address.partition("://")
            # Without one, all of it may be the secret.
            named = f", {kind}://...," if separator else ""
            raise UsageError(
                f"an alert channel's address{named} is none that Apprise knows",
                hint="for example mailtos://user:password@host?to=team@host, or jsons://host/path",
            )

    def send(self, notice: Notice) -> bool:
        return self.send_text(notice.title, notice.body)

    def send_text(self, title: str, body: str) -> bool:
        return bool(self._service.notify(title=title, body=body))


class AlertmanagerChannel:
    """Prometheus' Alertmanager, by its API version 2; it groups, silences and routes."""

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise UsageError(
                "Alertmanager's address begins with http:// or https://",
                hint="for example http://alertmanager:9093",
            )
        self._url = address.rstrip("/") + "/api/v2/alerts"

    def send(self, notice: Notice) -> bool:
        alert = notice.alert
        labels = {
            "alertname": f"Fedrisk{alert.kind.title()}",
            "service": "fedrisk",
            "subject": alert.subject,
            "severity": {"low": "info", "medium": "warning", "high": "critical"}[alert.level],
            "owner": notice.owner or "none",
        }
        told = {"summary": alert.title, "description": alert.text, "runbook_url": notice.runbook}
        document: dict[str, object] = {
            "labels": labels,
            "annotations": told,
            "startsAt": notice.since.isoformat(),
        }
        # Without an end it counts as resolved after five minutes, and people are told so.
        ends = notice.resolved or notice.until
        if ends is not None:
            document["endsAt"] = ends.isoformat()
        return self._post([document])

    def send_text(self, title: str, body: str) -> bool:  # noqa: ARG002 the protocol's
        """Nothing: Alertmanager knows alerts alone."""
        return True

    def _post(self, documents: Sequence[dict[str, object]]) -> bool:
        request = urllib.request.Request(  # noqa: S310 the scheme was checked
            self._url, json.dumps(documents).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
                return bool(answer.status < 300)
        except (OSError, HTTPException) as error:
            _log.warning("Alertmanager does not take an alert: %s", type(error).__name__)
            return False


def open_channel(rules: ChannelRules) -> Channel:
    """The channel that rules name.

    Raises
    ------
    UsageError
        When its address cannot be read or used.
    """
    address = rules.address()
    return AlertmanagerChannel(address) if rules.kind == "alertmanager" else AppriseChannel(address)
