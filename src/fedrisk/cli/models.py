"""`fedrisk models`, `promote` and `rollback`: look at the registry and move its champion."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedrisk.cli.options import home_option, json_option
from fedrisk.home import Home
from fedrisk.settings import Settings, read_settings

if TYPE_CHECKING:
    from fedrisk.registry.promotion import Released
    from fedrisk.registry.versions import RegisteredVersion

name_option = click.option(
    "--name", default=None, help="Registered model, where the registry holds several."
)
reason_option = click.option("--reason", default="", help="Why; kept with the move.")


def _place(home: Path | None, name: str | None) -> tuple[Home, Settings]:
    settings = read_settings()
    if name is not None:
        settings = settings.model_copy(update={"registry_name": name})
    return Home(home or settings.home).existing(), settings


@click.command()
@home_option
@name_option
@json_option
def models(home: Path | None, name: str | None, as_json: bool) -> None:
    """List the registered versions, the newest first."""
    from fedrisk.registry.store import open_store
    from fedrisk.registry.versions import list_versions, model_name

    place, settings = _place(home, name)
    store = open_store(place, settings)
    model = model_name(store, place, settings)
    found = list_versions(store, model)
    if as_json:
        document = {"name": model, "versions": [each.document() for each in found]}
        click.echo(json.dumps(document))
    else:
        _print_table(model, found)


def _print_table(name: str, versions: list[RegisteredVersion]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=name, title_justify="left")
    for head in ("version", "alias", "AUROC", "rows", "sites", "strategy", "created", "run"):
        table.add_column(head, justify="right" if head in ("AUROC", "rows", "sites") else "left")
    for each in versions:
        table.add_row(*_row(each))
    Console().print(table)


def _row(version: RegisteredVersion) -> list[str]:
    summary: dict[str, Any] = dict(version.summary)
    auroc, rows = summary.get("auroc"), summary.get("rows")
    return [
        version.version,
        ", ".join(version.aliases),
        "" if auroc is None else f"{auroc:.4f}",
        "" if rows is None else f"{rows:,}",
        str(summary.get("sites", "")),
        str(summary.get("strategy", "")),
        version.created.strftime("%Y-%m-%d %H:%M"),
        version.run_id,
    ]


@click.command()
@click.argument("version")
@home_option
@name_option
@reason_option
@json_option
def promote(version: str, home: Path | None, name: str | None, reason: str, as_json: bool) -> None:
    """Make VERSION the champion, once it has passed its self-test."""
    from fedrisk.registry import promotion

    place, settings = _place(home, name)
    released = promotion.promote(place, settings, version, reason, datetime.now(UTC))
    _print_released(released, as_json)


@click.command()
@home_option
@name_option
@reason_option
@json_option
def rollback(home: Path | None, name: str | None, reason: str, as_json: bool) -> None:
    """Return to the champion before this one."""
    from fedrisk.registry import promotion

    place, settings = _place(home, name)
    released = promotion.rollback(place, settings, reason, datetime.now(UTC))
    _print_released(released, as_json)


def _print_released(released: Released, as_json: bool) -> None:
    if as_json:
        document = {
            "name": released.name,
            "version": released.version,
            "alias": released.alias,
        }
        click.echo(json.dumps(document))
    else:
        click.echo(f"{released.name} version {released.version} is the {released.alias}")
