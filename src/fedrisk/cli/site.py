"""`fedrisk site`: join a federation with one site's rows, and guard what leaves."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedrisk.cli.drift_report import drift_report
from fedrisk.cli.options import (
    health_listen_option,
    health_port_option,
    if_missing_option,
    json_option,
)
from fedrisk.errors import FederationError, UsageError

if TYPE_CHECKING:
    from fedrisk.federation.provisioning.documents import JoinRequest
    from fedrisk.federation.provisioning.site import SiteFolder

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The site's folder.",
)


@click.group()
def site() -> None:
    """Take part in a federation with one site's rows, and guard what leaves."""


site.add_command(drift_report)


@site.command()
@click.argument("bundle", type=click.Path(path_type=Path, dir_okay=False))
@folder_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The site's rows, CSV or Parquet; they stay where they are.",
)
@health_listen_option
@health_port_option
@if_missing_option
@json_option
def init(
    bundle: Path,
    folder: Path,
    data: Path,
    health_listen: str,
    health_port: int,
    if_missing: bool,
    as_json: bool,
) -> None:
    """Join by a BUNDLE: make the site's own keys, a policy, and the request to send back."""
    from fedrisk.federation.compatibility import check_version
    from fedrisk.federation.provisioning.documents import JoinBundle
    from fedrisk.federation.provisioning.site import SiteFolder

    if if_missing and SiteFolder.made(folder):
        made = SiteFolder.open(folder)
        _tell_request(made, made.request(), as_json)
        return
    found = JoinBundle.read(bundle)
    check_version(found.version, "the coordinator")
    health: dict[str, str | int] = {"health_listen": health_listen, "health_port": health_port}
    made = SiteFolder.create(folder, found, data, **health)
    _tell_request(made, made.request(), as_json)


@site.command()
@folder_option
@json_option
def request(folder: Path, as_json: bool) -> None:
    """Write the join request again, and show the fingerprint to read out."""
    opened = _open(folder)
    _tell_request(opened, opened.request(), as_json)


@site.command()
@folder_option
@click.option("--again", is_flag=True, help="Make another next key, though one waits for approval.")
@json_option
def rotate(folder: Path, again: bool, as_json: bool) -> None:
    """Make the site's next key; it takes over when the coordinator has approved it."""
    opened = _open(folder)
    _tell_request(opened, opened.next_request(anew=again), as_json)


def _tell_request(opened: SiteFolder, made: JoinRequest, as_json: bool) -> None:
    path = opened.folder / "join-request.json"
    made.write(path)
    if as_json:
        facts = {"site": made.site, "request": str(path), "fingerprint": made.fingerprint}
        click.echo(json.dumps(facts))
        return
    click.echo(f"wrote {path}: send it to the coordinator")
    click.echo(f"read this out to its operator, on the telephone: {made.fingerprint}")


@site.command()
@click.argument("update", type=click.Path(path_type=Path, dir_okay=False))
@folder_option
@json_option
def trust(update: Path, folder: Path, as_json: bool) -> None:
    """Trust the authorities of a trust UPDATE that the coordinator signed."""
    from fedrisk.federation.provisioning.documents import TrustUpdate

    found = TrustUpdate.read(update)
    _open(folder).trust(found)
    if as_json:
        click.echo(json.dumps({"issued": found.issued}))
        return
    click.echo(f"trusts the authorities of {found.issued} from its next start on")


@site.command()
@click.argument("study_name", metavar="STUDY")
@folder_option
@click.option("--by", metavar="WHO", help="Who approves.  [default: the user who runs this]")
@click.option("--yes", is_flag=True, help="Do not ask: it was read before.")
@json_option
def approve(study_name: str, folder: Path, by: str | None, yes: bool, as_json: bool) -> None:
    """Approve a STUDY, which this shows: from now on its questions are answered by the policy."""
    from fedrisk.cli.study_shown import study_lines
    from fedrisk.sites.approvals import approve as record
    from fedrisk.sites.folder import open_site
    from fedrisk.study import find_study

    opened, study = open_site(folder), find_study(study_name)
    for line in study_lines(study):
        click.echo(line, err=as_json)
    if not yes:
        _confirm(study.name)
    made = record(opened.approvals, study, by or _user(), datetime.now(UTC))
    related = opened.related_study(study)
    if as_json:
        facts = {"study": made.name, "hash": made.study, "by": made.by, "time": made.time}
        click.echo(json.dumps(facts | {"second_approval_for": related or None}))
        return
    click.echo(f"approved by {made.by}: {made.name} ({made.study})")
    if related:
        click.echo(
            f"study {related[:12]}, answered here before, reads the same columns: compare the two, "
            "then approve this one a second time; until then it is refused (rule: related studies)"
        )


def _confirm(name: str) -> None:
    """Ask the person who reads; nothing is recorded without a yes."""
    import sys

    if not sys.stdin.isatty():
        raise UsageError(
            "there is nobody to ask, and nothing was recorded",
            hint="run it at a terminal, or pass --yes once a person has read the study",
        )
    question = f"May the coordinator ask about study {name} here, by this site's policy?"
    if not click.confirm(question, err=True):
        raise UsageError("the study was not approved; nothing was recorded")


def _user() -> str:
    import os
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


@site.command()
@folder_option
@click.option("--study", "study_name", help="Check the rows against this study, too.")
@click.option("--offline", is_flag=True, help="Do not try the way to the coordinator.")
@json_option
def check(folder: Path, study_name: str | None, offline: bool, as_json: bool) -> None:
    """Check folder, policy, log, rows, and the way to the coordinator."""
    from fedrisk.cli.site_answers import check_site

    found = check_site(_open(folder), study_name, offline=offline)
    if as_json:
        click.echo(json.dumps(found.document()))
    else:
        for line in found.lines():
            click.echo(line)
    if found.fault:
        raise FederationError(found.fault, hint="docs/federation.md lists what can be wrong")


@site.command()
@folder_option
def start(folder: Path) -> None:
    """Take part until SIGTERM or Ctrl-C; events go to standard output, one JSON object a line.

    A log of what left that is not as it was written, or a policy with an unknown key, is an error.
    """
    import threading

    from fedrisk.cli.supervising import supervising
    from fedrisk.federation.provisioning.folders import hold_folder
    from fedrisk.federation.supervision.site import Site
    from fedrisk.sites.folder import open_site

    opened = _open(folder)
    entries = open_site(folder).check_log()
    with supervising(hold_folder(folder, "this site")) as given:
        given.log("egress log verified", entries=entries)
        running = Site(opened, given.environment, given.resident, given.log)
        # Beside the start: a coordinator that is away is waited for.
        threading.Thread(target=running.check_way, daemon=True).start()
        settings = opened.settings
        running.run(given.stop, given.place(settings.health_listen, settings.health_port))


@site.command()
@folder_option
@click.option("--verify", is_flag=True, help="Check the log; say what was found, list nothing.")
@click.option(
    "--head",
    "heads",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A head or receipt from elsewhere, such as the coordinator, to check the log against.",
)
@json_option
def egress(folder: Path, verify: bool, heads: tuple[Path, ...], as_json: bool) -> None:
    """List what left this site, one line an answer or refusal; the log is checked first."""
    from fedrisk.cli.site_answers import print_entries, read_heads
    from fedrisk.sites.folder import open_site

    log = open_site(folder).log
    entries = log.verify([head for path in heads for head in read_heads(path)])
    head = log.head()
    if as_json:
        found = {"entries": len(entries), "head": head and head.document()}
        found |= {"receipts": len(log.receipts())}
        click.echo(json.dumps(found if verify else found | {"log": entries}))
        return
    if not verify:
        print_entries(entries)
    told = f"head {head.hash[:16]} of {head.time}" if head else "no head yet"
    click.echo(
        f"the log is as it was written: {len(entries)} entries, {told}, "
        f"{len(log.receipts())} receipts of the coordinator, {len(heads)} files checked against"
    )


@site.command()
@folder_option
@json_option
def ledger(folder: Path, as_json: bool) -> None:
    """Show what was asked of this site: parameter vectors, questions, runs; and refusals a day."""
    from fedrisk.cli.site_answers import print_spent
    from fedrisk.sites.folder import open_site

    opened = open_site(folder)
    spent, limit = opened.ledger.spent(), opened.policy.queries_per_day
    if as_json:
        # JSON has no infinity; null is no limit.
        bound = limit if limit < float("inf") else None
        refused = opened.ledger.told()
        click.echo(json.dumps({"queries_per_day": bound, "spent": spent, "refusals": refused}))
    else:
        print_spent(spent, limit, opened.ledger.told())


def _open(folder: Path) -> SiteFolder:
    from fedrisk.federation.provisioning.site import SiteFolder

    return SiteFolder.open(folder)
