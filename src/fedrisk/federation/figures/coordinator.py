"""Figures of a coordinator: its sites, its runs, the heads that it countersigned, its backup."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fedrisk.attestation import Receipt
from fedrisk.errors import FedriskError
from fedrisk.federation.figures.runs import RunsFigures
from fedrisk.federation.figures.supervised import gauge
from fedrisk.federation.provisioning.coordinator import Federation
from fedrisk.federation.provisioning.members import Member, Members
from fedrisk.federation.traffic import ONLINE_SECONDS, STRANGER, Traffic

STATUSES: tuple[str, ...] = get_args(Member.model_fields["status"].annotation)
#: Written by whoever makes backups: ``{"time": ISO 8601, "bytes": N, "ok": true}``, time and bytes
#: of the last one that succeeded.
BACKUP = "backup-status.json"


class CoordinatorFigures(Collector):
    """What lies in a federation's folder.

    Parameters
    ----------
    federation : Federation
    clock : callable
        Seconds since 1970.
    backup : Path, optional
        What says how backups went; ``backup-status.json`` in the folder without.
    """

    def __init__(
        self, federation: Federation, clock: Callable[[], float], backup: Path | None = None
    ) -> None:
        self._federation, self._clock = federation, clock
        self._backup = backup or federation.folder / BACKUP
        self._runs = RunsFigures(federation.home / "runs")

    def collect(self) -> Iterator[Metric]:
        """Read it; what cannot be read is left out, and its figures are absent."""
        yield from self._runs.collect()
        try:
            members = self._federation.members.read()
        except FedriskError:
            members = Members()
        yield from self._sites(members)
        yield from _heads(self._federation.folder / "heads", list(members.sites))
        yield from backup_figures(self._backup)

    def _sites(self, members: Members) -> Iterator[Metric]:
        counts = Counter(str(member.status) for member in members.sites.values())
        sites = GaugeMetricFamily("federation_sites", "Sites by status.", labels=["status"])
        for status in STATUSES:
            sites.add_metric([status], float(counts[status]))
        yield sites
        traffic = Traffic.read(self._federation.folder)
        approved = [name for name, m in members.sites.items() if m.status == "approved"]
        yield from self._connections(approved, traffic)
        dropouts = CounterMetricFamily(
            "federation_site_dropouts", "Times that a run went on without it.", labels=["site"]
        )
        for site in approved:
            dropouts.add_metric([site], float(self._runs.dropouts[site]))
        yield dropouts
        refused = CounterMetricFamily(
            "federation_refused_calls", "Calls that the gateway refused.", labels=["caller"]
        )
        for caller in sorted({STRANGER, *members.sites}):
            refused.add_metric([caller], float(traffic.refused[caller]))
        yield refused

    def _connections(self, approved: list[str], traffic: Traffic) -> Iterator[Metric]:
        now = self._clock()
        online = GaugeMetricFamily(
            "federation_site_online", "1 while an approved site calls.", labels=["site"]
        )
        seen = GaugeMetricFamily(
            "federation_site_last_seen_timestamp_seconds",
            "When an approved site called last, in seconds since 1970; 0 before its first call.",
            labels=["site"],
        )
        for site in approved:
            time = traffic.seen.get(site, 0.0)
            online.add_metric([site], float(now - time <= ONLINE_SECONDS))
            seen.add_metric([site], time)
        yield online
        yield seen


def _heads(folder: Path, sites: list[str]) -> Iterator[Metric]:
    entries, times = egress_families()
    for site in sites:
        try:
            receipt = Receipt.from_text((folder / f"{site}.json").read_text(encoding="utf-8"))
            time = datetime.fromisoformat(receipt.head.time).timestamp()
        except (FedriskError, OSError, ValueError):
            continue
        entries.add_metric([site], float(receipt.head.sequence))
        times.add_metric([site], time)
    yield entries
    yield times


def egress_families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    """Entries of an egress log, and when its head was signed, by site; empty still."""
    entries = GaugeMetricFamily(
        "egress_entries", "Entries of a site's egress log, by its signed head.", labels=["site"]
    )
    times = GaugeMetricFamily(
        "egress_head_timestamp_seconds",
        "When that head was signed, in seconds since 1970.",
        labels=["site"],
    )
    return entries, times


def backup_figures(file: Path) -> Iterator[Metric]:
    """Backups, as whoever makes them says; nothing where nobody says anything."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return
    found = read_backup(text)
    yield gauge("backup_last_ok", "1 when the last backup succeeded.", float(found["ok"] is True))
    time = found.get("time")
    if time is not None:
        said = "When one succeeded last, in seconds since 1970."
        yield gauge("backup_last_success_timestamp_seconds", said, time)
        yield gauge("backup_last_bytes", "Its size.", found["bytes"])


def read_backup(text: str) -> dict[str, Any]:
    """What a status says; a file that cannot be understood is no word of success."""
    try:
        found = json.loads(text)
        ok, told = found["ok"], found.get("time")
        if told is None:
            return {"ok": ok}
        time = datetime.fromisoformat(told)
        zoned = time if time.tzinfo else time.replace(tzinfo=UTC)
        return {"ok": ok, "time": zoned.timestamp(), "bytes": float(found.get("bytes") or 0)}
    except (ValueError, KeyError, TypeError):
        return {"ok": False}
