"""What a federation's operator sees: every site, how it is, what it brought, why it was refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fedrisk.errors import FedriskError
from fedrisk.federation.progress import Progress
from fedrisk.federation.provisioning.certificates import expiry
from fedrisk.federation.provisioning.coordinator import Federation
from fedrisk.federation.provisioning.members import Member
from fedrisk.study.training import RoundRecord

#: Nodes as `fedrisk.federation.engines.flower.Control.nodes` gives them, by id.
Nodes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class SiteState:
    """One site as its coordinator sees it.

    Attributes
    ----------
    site, status, fingerprint, version, changed : str
        As in `fedrisk.federation.provisioning.members.Member`.
    connection : str
        ``online``, ``offline``, ``registered`` (never came) or empty where nobody can tell.
    last_seen : str
        Time at which it was online last, as Flower tells it; empty when it never was.
    rows : int or None
        Training rows in the newest run that it took part in.
    run : str
        That run.
    refusals : tuple of dict
        ``run``, ``round``, ``kind`` and ``reason`` of every time that a run went on without it.
    """

    site: str
    status: str
    fingerprint: str
    version: str
    changed: str
    connection: str = ""
    last_seen: str = ""
    rows: int | None = None
    run: str = ""
    refusals: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class RunState:
    """How a past or present run stands.

    Attributes
    ----------
    run : str
    state : {'running', 'finished', 'failed', 'interrupted'}
        An interrupted run can be taken up again.
    rounds : int
    reason : str
        Why it failed.
    """

    run: str
    state: str
    rounds: int
    reason: str = ""


@dataclass(frozen=True)
class Overview:
    """A federation at a glance.

    Attributes
    ----------
    federation, superlink : str
    running : bool
        Whether a coordinator holds the folder.
    note : str
        Why connections are unknown, if they are.
    sites : list of SiteState
    runs : list of RunState
        Oldest first.
    certificates : dict of file to ISO 8601 time
        When they end.
    change_of_authority : bool
        Whether one was begun and not finished.
    """

    federation: str
    superlink: str
    running: bool
    note: str
    sites: list[SiteState]
    runs: list[RunState]
    certificates: dict[str, str] = field(default_factory=dict)
    change_of_authority: bool = False

    def document(self) -> dict[str, Any]:
        """The overview as JSON values."""
        return asdict(self)


def look(
    federation: Federation, nodes: Nodes, now: datetime, *, running: bool, note: str = ""
) -> Overview:
    """Put together what the coordinator's folder and SuperLink tell.

    Parameters
    ----------
    federation : Federation
    nodes : mapping
        Empty where the coordinator is stopped.
    now : datetime
        When ``nodes`` was asked for, UTC.
    running : bool
    note : str
    """
    runs = _runs(federation.home / "runs")
    rounds = {folder.name: told_rounds(folder) for folder in runs}
    asked = {folder.name: rounds[folder.name] + unfinished_round(folder) for folder in runs}
    members = federation.members.read().sites
    return Overview(
        federation=federation.settings.id,
        superlink=federation.superlink,
        running=running,
        note=note,
        sites=[_site(name, member, nodes, asked, now) for name, member in members.items()],
        runs=[run_state(folder, rounds[folder.name]) for folder in runs],
        certificates={
            n: expiry(federation.folder / n).isoformat() for n in ("server.crt", "ca.crt")
        },
        change_of_authority=(federation.folder / "next" / "cross.crt").exists(),
    )


def _runs(folder: Path) -> list[Path]:
    """Folders of runs, oldest first by their last round."""
    return sorted((path for path in folder.glob("*") if path.is_dir()), key=_time)


def _time(run: Path) -> float:
    told = [run / name for name in ("progress.jsonl", "outcome.json", Progress(run).sign)]
    return max((path.stat().st_mtime for path in told if path.exists()), default=0.0)


def told_rounds(folder: Path) -> list[RoundRecord]:
    """Rounds that can be read; a damaged file is not worth failing an overview."""
    try:
        return list(Progress(folder).news())
    except ValueError:
        return []


def unfinished_round(folder: Path) -> list[RoundRecord]:
    """The round that ended a run, if one did: who refused is told of it too."""
    try:
        found = Progress(folder).unfinished()
    except (ValueError, KeyError):
        return []
    return [] if found is None else [found]


def _site(
    name: str,
    member: Member,
    nodes: Nodes,
    rounds: Mapping[str, list[RoundRecord]],
    now: datetime,
) -> SiteState:
    node = nodes.get(member.node, {})
    rows, run = _rows(name, rounds)
    connection = str(node.get("status", ""))
    return SiteState(
        site=name,
        status=member.status,
        fingerprint=member.fingerprint,
        version=member.version,
        changed=member.changed,
        connection=connection,
        last_seen=_last_seen(connection, node, now),
        rows=rows,
        run=run,
        refusals=tuple(_refusals(name, rounds)),
    )


def _last_seen(connection: str, node: Mapping[str, Any], now: datetime) -> str:
    if connection == "online":
        return now.isoformat(timespec="seconds")
    told = str(node.get("offline-at", ""))
    return "" if told == "N/A" else told


def _rows(site: str, rounds: Mapping[str, list[RoundRecord]]) -> tuple[int | None, str]:
    for run, records in reversed(list(rounds.items())):
        for record in records:
            if "train" in record.per_site.get(site, {}):
                return int(record.per_site[site]["train"]), run
    return None, ""


def _refusals(site: str, rounds: Mapping[str, list[RoundRecord]]) -> list[dict[str, Any]]:
    return [
        {"run": run, "round": record.number, "kind": record.kind, "reason": record.dropped[site]}
        for run, records in rounds.items()
        for record in records
        if site in record.dropped
    ]


def run_state(folder: Path, rounds: list[RoundRecord]) -> RunState:
    """How a run stands that has told these rounds."""
    progress = Progress(folder)
    try:
        outcome = progress.outcome()
    except FedriskError as error:
        return RunState(folder.name, "failed", len(rounds), error.message)
    except (ValueError, KeyError):
        return RunState(folder.name, "failed", len(rounds), "its outcome cannot be read")
    if outcome is not None:
        return RunState(folder.name, "finished", len(rounds))
    state = "running" if progress.alive() else "interrupted"
    return RunState(folder.name, state, len(rounds))
