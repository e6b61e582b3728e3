"""`fedrisk record`: the sealed record of predictions, for those who hold its private key."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from fedrisk.cli.options import home_option, json_option
from fedrisk.errors import UsageError
from fedrisk.home import Home
from fedrisk.settings import read_settings

if TYPE_CHECKING:
    from fedrisk.serving.recording.reading import Rows

DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def record() -> None:
    """Make keys for the sealed record of predictions, open it, erase it.

    A server records nothing unless FEDRISK_RECORD_SHARE, _KEY and _DAYS are set.
    """


@record.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Private key to write; the public one, for the server, gets `.pub` after its name.",
)
@json_option
def keygen(output: Path, as_json: bool) -> None:
    """Make a pair of keys. Without the private one nobody can read what is recorded."""
    from fedrisk.sealing import make_keys

    public = make_keys(output)
    if as_json:
        click.echo(json.dumps({"private": str(output), "public": str(public)}))
        return
    click.echo(f"{public} is for the server; keep {output} away from it")


@record.command()
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Private key.",
)
@click.option("--from", "first", type=DAY, help="First day, in UTC.")
@click.option("--until", "last", type=DAY, help="Last day.")
@click.option("--format", "form", type=click.Choice(["ndjson", "csv"]), default="ndjson")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write, readable by its owner alone; else standard output.",
)
@home_option
def read(
    key: Path,
    first: datetime | None,
    last: datetime | None,
    form: str,
    output: Path | None,
    home: Path | None,
) -> None:
    """Open what was recorded, as JSON lines or CSV."""
    from fedrisk.sealing import read_private
    from fedrisk.serving.recording.reading import Rows, write_csv, write_ndjson

    write: Callable[[Rows, IO[str]], None] = write_csv if form == "csv" else write_ndjson
    days = first.date() if first else date.min, last.date() if last else date.max
    rows = Rows(_home(home).records, read_private(key), *days)
    with _writing(output) as stream:
        write(rows, stream)
    for name in rows.unfinished:
        click.echo(
            f"warning: {name} has no end: it is written now, its server was killed, or it was cut",
            err=True,
        )


@record.command()
@click.option("--before", type=DAY, required=True, help="The first day that stays, in UTC.")
@home_option
@json_option
def erase(before: datetime, home: Path | None, as_json: bool) -> None:
    """Delete what was recorded before a day, at once."""
    from fedrisk.serving.recording.files import erase_before

    erased = [day.isoformat() for day in erase_before(_home(home).records, before.date())]
    click.echo(json.dumps({"erased": erased}) if as_json else f"{len(erased)} day(s) erased")


def _home(given: Path | None) -> Home:
    return Home(given or read_settings().home).existing()


@contextmanager
def _writing(output: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a new file that only its owner can read."""
    if output is None:
        yield sys.stdout
        return
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
        yield stream
