"""What `fedrisk federation status` asks for and prints."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from fedrisk.errors import FederationError

if TYPE_CHECKING:
    from fedrisk.federation.provisioning.coordinator import Federation
    from fedrisk.federation.provisioning.roster import Overview

#: Shown of each site on a terminal; `--json` gives them all.
SHOWN_REFUSALS = 3
SHOWN_RUNS = 10


def ask_nodes(federation: Federation) -> tuple[dict[str, dict[str, Any]], str]:
    """What the running SuperLink tells of its nodes; or nothing, and why."""
    from fedrisk.federation.engines.flower import Control
    from fedrisk.federation.engines.processes import flower_environment
    from fedrisk.settings import process_environment

    folder = federation.folder.resolve()
    environment = flower_environment(process_environment(), folder / "flower", folder / "scripts")
    try:
        return Control(environment, folder / "logs" / "flwr.log").nodes(), ""
    except FederationError as error:
        return {}, f"SuperLink does not answer: {error.message}"
    except OSError as error:
        return {}, f"SuperLink cannot be asked: {error}"


def print_overview(found: Overview, now: datetime) -> None:
    """Print sites, refusals, runs and certificates as people read them."""
    state = "running" if found.running else "stopped"
    click.echo(f"federation {found.federation} at {found.superlink}: coordinator {state}")
    if found.note:
        click.secho(f"connections are unknown: {found.note}", fg="yellow", err=True)
    _print_sites(found)
    for site in found.sites:
        for refusal in site.refusals[-SHOWN_REFUSALS:]:
            place = f"run {refusal['run']}, round {refusal['round']} ({refusal['kind']})"
            click.echo(f"dropped: {site.site} in {place}: {refusal['reason']}")
    for run in found.runs[-SHOWN_RUNS:]:
        reason = f": {run.reason}" if run.reason else ""
        click.echo(f"run {run.run}: {run.state} after {run.rounds} round(s){reason}")
    for name, ends in found.certificates.items():
        days = (datetime.fromisoformat(ends) - now).days
        click.echo(f"{name} ends {ends[:10]} (in {days} days)")
    if found.change_of_authority:
        click.echo("a change of authority was begun: `fedrisk federation rotate --finish` ends it")


def _print_sites(found: Overview) -> None:
    from rich.console import Console
    from rich.table import Table

    if not found.sites:
        click.echo("no site yet: fedrisk federation add-site NAME")
        return
    columns = ("site", "status", "connection", "last seen", "fedrisk", "rows", "fingerprint")
    table = Table(*columns, box=None)
    for site in found.sites:
        rows = "-" if site.rows is None else f"{site.rows:,}"
        seen = site.last_seen or "-"
        told = (site.connection or "-", seen, site.version or "-", rows, site.fingerprint or "-")
        table.add_row(site.site, site.status, *told)
    console = Console(width=None if Console().is_terminal else 200, highlight=False)
    console.print(table)
