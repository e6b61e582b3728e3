"""What the commands of `fedrisk site` find out and print."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedrisk.errors import FederationError, TamperedLogError

if TYPE_CHECKING:
    from fedrisk.attestation import Head
    from fedrisk.federation.provisioning.site import SiteFolder
    from fedrisk.sites.overview import SiteOverview


@dataclass(frozen=True)
class SiteCheck:
    """What `fedrisk site check` found in order, and what it did not.

    Attributes
    ----------
    site, superlink, data : str
    entries : int
        Of the egress log, each checked.
    approved : dict of str to str
        Names of the approved studies, by study hash.
    study : str
        Hash of the study that the rows were checked against; empty without one.
    rows : SiteOverview or None
    fault : str
        What stands between this site and its coordinator; empty when nothing does.
    offline : bool
        Whether the way was not tried.
    """

    site: str
    superlink: str
    data: str
    entries: int
    approved: dict[str, str]
    study: str
    rows: SiteOverview | None
    fault: str
    offline: bool

    def document(self) -> dict[str, Any]:
        """The check as JSON values."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The check as people read it."""
        yield f"site {self.site}: folder, policy and keys are in order"
        yield f"egress log: {self.entries} entries, as they were written"
        for study, name in self.approved.items():
            yield f"approved: {name} ({study[:12]})"
        if not self.approved:
            yield "no study is approved yet: fedrisk site approve STUDY"
        if self.rows is not None:
            known = "" if self.study in self.approved else ", which is not approved here"
            yield f"rows: {self.rows.rows:,}, {self.rows.usable:,} usable, fit the study{known}"
        if self.offline:
            yield f"the way to {self.superlink} was not tried"
        elif not self.fault:
            yield f"{self.superlink} answers: certificate, name, clock and release are in order"


def check_site(opened: SiteFolder, study_name: str | None, *, offline: bool) -> SiteCheck:
    """Check one site's folder, log and rows, and its way to the coordinator.

    Raises
    ------
    FedriskError
        At the first thing that is not in order, but for the way to the coordinator.
    """
    from fedrisk.federation.provisioning.connection import fault
    from fedrisk.sites.approvals import read_approvals
    from fedrisk.sites.folder import open_site

    site, settings = open_site(opened.folder), opened.settings
    entries, approvals = site.check_log(), read_approvals(site.approvals)
    study, rows = _rows(opened, study_name)
    superlink = settings.superlink
    clock = lambda: datetime.now(UTC)  # noqa: E731
    found = "" if offline else fault(superlink, opened.authorities, clock, opened.key)
    return SiteCheck(
        site=settings.site,
        superlink=superlink,
        data=settings.data,
        entries=entries,
        approved={approval.study: approval.name for approval in approvals},
        study=study,
        rows=rows,
        fault=found,
        offline=offline,
    )


def _rows(opened: SiteFolder, study_name: str | None) -> tuple[str, SiteOverview | None]:
    from fedrisk.sites.cohort import load_cohort
    from fedrisk.sites.overview import overview
    from fedrisk.study import find_study

    data = Path(opened.settings.data)
    if not data.is_file():
        raise FederationError(f"no such file: {data}", hint="`data` in site.toml names the rows")
    if study_name is None:
        return "", None
    study = find_study(study_name)
    cohort = load_cohort(study, opened.settings.site, data, datetime.now(UTC))
    return study.hash, overview(cohort)


def read_heads(path: Path) -> list[Head]:
    """Read a head, a receipt, or several, one a line.

    Raises
    ------
    TamperedLogError
        When the file holds something else.
    """
    from fedrisk.attestation import Head

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TamperedLogError(f"{path} cannot be read: {error}") from None
    try:
        heads = [Head.from_document(one.get("head", one)) for one in _documents(text)]
    except (ValueError, AttributeError):
        heads = []
    if not heads:
        raise TamperedLogError(f"{path} holds no head and no receipt")
    return heads


def _documents(text: str) -> list[dict[str, Any]]:
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def print_entries(entries: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each answer or refusal."""
    for entry in entries:
        about = f"{entry['sequence']:>5}  {entry['time'][:19]}  run {entry.get('run', '')}"
        click.echo(f"{about}  {entry.get('kind', '')}  {_left(entry)}")


def _left(entry: Mapping[str, Any]) -> str:
    if entry.get("outcome") != "released":
        return f"{entry.get('outcome', '?')}: {entry.get('reason', '')}"
    names = sorted({name.partition("/")[0] for name in entry.get("records", {})})
    return f"released {', '.join(names)} ({entry.get('bytes', 0):,} bytes)"


def print_spent(
    spent: Sequence[Mapping[str, Any]], limit: float, refused: Mapping[str, int]
) -> None:
    """Print what was asked a study and day, newest first; the limit is of all studies together."""
    for day, number in refused.items():
        click.echo(f"{day}: {number} refusals")
    if not spent:
        click.echo("nothing was asked yet")
    for day in dict.fromkeys(row["day"] for row in spent):
        rows = [row for row in spent if row["day"] == day]
        used = sum(row["cost"] for row in rows)
        click.echo(f"{day}: {used:g} of {limit:g} parameter vectors")
        for row in rows:
            what = f"{row['cost']:g} in {row['questions']} questions of {row['runs']} run(s)"
            click.echo(f"  study {row['study'][:12]}: {what}")
