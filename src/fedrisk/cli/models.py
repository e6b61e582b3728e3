"""`fedrisk models`, `promote` and `rollback`: look at the registry and move its champion."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from fedrisk.cli.follow import follow
from fedrisk.cli.options import home_option, json_option
from fedrisk.home import Home
from fedrisk.settings import Settings, read_settings

if TYPE_CHECKING:
    from fedrisk.registry.promotion import Released
    from fedrisk.registry.versions import RegisteredVersion

#: Columns of the table that hold numbers.
NUMBERS = ("AUROC", "rows", "sites")

name_option = click.option(
    "--name", default=None, help="Registered model, where the registry holds several."
)
reason_option = click.option("--reason", default="", help="Why; kept with the move.")


def _place(home: Path | None, name: str | None) -> tuple[Home, Settings]:
    settings = read_settings()
    if name is not None:
        settings = settings.model_copy(update={"registry_name": name})
    return Home(home or settings.home).existing(), settings


@click.group(invoke_without_command=True)
@home_option
@name_option
@json_option
@click.pass_context
def models(context: click.Context, home: Path | None, name: str | None, as_json: bool) -> None:
    """List every registered model with its versions, the newest first."""
    if context.invoked_subcommand is not None:
        return
    from fedrisk.registry.store import open_store
    from fedrisk.registry.versions import list_models, served_name

    place, settings = _place(home, name)
    found = _wanted(list_models(open_store(place, settings)), settings.registry_name)
    served = served_name(place)
    if as_json:
        click.echo(json.dumps(_document(found, served)))
        return
    for model, versions in found.items():
        note = "served by this home" if model == served else "not served by this home"
        _print_table(f"{model} ({note})" if len(found) > 1 else model, versions)


models.add_command(follow)


def _wanted(
    found: dict[str, list[RegisteredVersion]], name: str
) -> dict[str, list[RegisteredVersion]]:
    from fedrisk.errors import ModelNotFoundError

    if not found:
        raise ModelNotFoundError(
            "the registry holds no model", hint="`fedrisk train` registers the first"
        )
    if name and name not in found:
        known = ", ".join(found)
        raise ModelNotFoundError(f"the registry holds no model {name!r}", hint=f"models: {known}")
    return {name: found[name]} if name else found


def _document(found: dict[str, list[RegisteredVersion]], served: str | None) -> dict[str, Any]:
    """All models; `name` and `versions` are of the one that serves, or of the only one."""
    models = [
        {"name": name, "served": name == served, "versions": [each.document() for each in versions]}
        for name, versions in found.items()
    ]
    first = next((model for model in models if model["served"] or len(models) == 1), None)
    shown = first or {"name": None, "versions": []}
    return {"name": shown["name"], "versions": shown["versions"], "models": models}


def _print_table(title: str, versions: list[RegisteredVersion]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for head in ("version", "alias", "AUROC", "rows", "sites", "strategy", "created", "run"):
        justify: Literal["left", "right"] = "right" if head in NUMBERS else "left"
        table.add_column(head, justify=justify, no_wrap=head in ("version", "alias"))
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
    if released.serving is not None:
        name, version = released.serving
        click.echo(f"warning: this home serves another model, {name} version {version}", err=True)
