"""`fedrisk alerts`: what is open, who would be told, and whether it would reach them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedrisk.cli.options import home_option, json_option
from fedrisk.errors import UsageError
from fedrisk.home import Home

if TYPE_CHECKING:
    from fedrisk.monitoring.alerts.notifier import Notifier
    from fedrisk.monitoring.alerts.store import Standing


@click.group(invoke_without_command=True)
@home_option
@json_option
@click.pass_context
def alerts(context: click.Context, home: Path | None, as_json: bool) -> None:
    """List alerts: what lasts, and what has ended."""
    context.obj = home
    if context.invoked_subcommand is not None:
        return
    notifier = _open(home, channels=False)
    found = notifier.store.all()
    notifier.store.close()
    if as_json:
        click.echo(json.dumps({"alerts": [_document(each, notifier) for each in found]}))
        return
    for each in found:
        state = each.alert.level if each.active else "ended"
        click.echo(f"{state:>6}  {each.since:%Y-%m-%d %H:%M}  {each.alert.title}")
    if not found:
        click.echo("no alert")


@alerts.command("test")
@click.pass_obj
def try_channels(home: Path | None) -> None:
    """Send a line to every channel, and say which took it."""
    notifier = _open(home, channels=True)
    notifier.store.close()
    if not notifier.channels:
        raise UsageError(
            "no channel is named: alerts go to the log alone",
            hint="`[[channels]]` in alerts.toml in the home names one (docs/watching.md)",
        )
    taken = []
    for rules, channel in notifier.channels:
        taken.append(channel.send_text("[fedrisk] test", "This is a test of an alert channel."))
        click.echo(f"{rules.kind}: {'taken' if taken[-1] else 'not taken'}")
    if not all(taken):
        raise UsageError("not every channel took the line", hint="the log says why")


@alerts.command("digest")
@click.option("--hours", type=click.FloatRange(min=0), default=24.0, show_default=True)
@click.pass_obj
def send_digest(home: Path | None, hours: float) -> None:
    """Send the digest now, to the channels that get one."""
    notifier = _open(home, channels=True)
    now = datetime.now(UTC)
    click.echo(notifier.digest(now - timedelta(hours=hours), now))
    notifier.store.close()


def _open(home: Path | None, *, channels: bool) -> Notifier:
    from fedrisk.monitoring.alerts.notifier import Notifier
    from fedrisk.monitoring.alerts.rules import read_rules
    from fedrisk.monitoring.alerts.store import AlertStore
    from fedrisk.registry.versions import served_name
    from fedrisk.settings import read_settings

    settings = read_settings()
    place = Home(settings.home if home is None else home).existing()
    rules = read_rules(place.alerts)
    if not channels:
        rules = rules.model_copy(update={"channels": ()})
    model = settings.registry_name or served_name(place) or ""
    url = settings.database(place.state)
    return Notifier.open(AlertStore(url, model), rules)


def _document(standing: Standing, notifier: Notifier) -> dict[str, object]:
    alert = standing.alert
    owner, runbook = notifier.rules.owner_of(alert)
    return {
        "kind": alert.kind,
        "subject": alert.subject,
        "level": alert.level,
        "title": alert.title,
        "text": alert.text,
        "owner": owner,
        "runbook": runbook,
        "active": standing.active,
        "since": standing.since.isoformat(),
        "seen": standing.seen.isoformat(),
        "times": standing.times,
    }
