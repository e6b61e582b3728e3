"""`fedrisk database`: which revision our own tables are of, and their upgrade."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fedrisk.cli.options import home_option, json_option
from fedrisk.errors import HomeError

file_option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A SQLite file, in place of the home's or the one that settings name.",
)


@click.group()
def database() -> None:
    """Look at the tables of windows, verdicts, retrainings, alerts and jobs, and upgrade them.

    FEDRISK_DATABASE_URL names the database; without it the home's own file is meant.
    """


@database.command()
@home_option
@file_option
@json_option
def upgrade(home: Path | None, file: Path | None, as_json: bool) -> None:
    """Bring the tables to this release's revision, or make them; all of it or nothing."""
    from fedrisk.database.revision import HEAD
    from fedrisk.database.upgrade import upgrade as bring

    before = bring(_url(home, file))
    now = before.revision if before.state == "newer" else HEAD
    if as_json:
        click.echo(json.dumps({"before": before.revision or None, "revision": now}))
        return
    click.echo(f"revision {now}" + (f", before {before.state}" if before.revision != now else ""))


@database.command()
@home_option
@file_option
@json_option
def current(home: Path | None, file: Path | None, as_json: bool) -> None:
    """Tell the revision of the tables, and what this release makes of it."""
    _show(*_look(home, file), as_json=as_json)


@database.command()
@home_option
@file_option
@json_option
def check(home: Path | None, file: Path | None, as_json: bool) -> None:
    """Exit with 0 where this release can use the tables as they are, else with 5."""
    state, revision = _look(home, file)
    _show(state, revision, as_json=as_json)
    if state not in ("current", "newer"):
        raise HomeError(
            f"this release cannot use the tables: {state}",
            hint="use the newer fedrisk" if state == "too new" else "`fedrisk database upgrade`",
        )


def _look(home: Path | None, file: Path | None) -> tuple[str, str]:
    from fedrisk.database.revision import look
    from fedrisk.database.store import looking

    with looking(_url(home, file)) as connection:
        found = look(connection)
    return found.state, found.revision


def _show(state: str, revision: str, *, as_json: bool) -> None:
    from fedrisk.database.revision import HEAD

    if as_json:
        click.echo(json.dumps({"state": state, "revision": revision or None, "head": HEAD}))
        return
    click.echo(f"tables: {state}, revision {revision or 'none'}; this release: {HEAD}")


def _url(home: Path | None, file: Path | None) -> str:
    from fedrisk.home import Home
    from fedrisk.settings import read_settings

    if file is not None:
        return f"sqlite:///{file.absolute()}"
    settings = read_settings()
    if home is None and settings.database_url:
        return settings.database(Path())
    return settings.database(Home(home or settings.home).existing().state)
