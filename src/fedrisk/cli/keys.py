"""`fedrisk keys`: who may ask the API, and how much."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedrisk.cli.options import home_option, json_option
from fedrisk.errors import HomeError
from fedrisk.home import Home, locked
from fedrisk.settings import read_settings

if TYPE_CHECKING:
    from fedrisk.serving.access.keys import Key, KeyRing


@click.group()
def keys() -> None:
    """Make, list and revoke the API keys of a home.

    As soon as a home has a key, its API admits nobody without one.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(["predict", "batch", "admin", "metrics"]),
    help="What the key is for; may be given again.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="It ends after so many.")
@click.option("--rate", type=click.FloatRange(min=0), default=0.0, help="Requests a second.")
@click.option("--burst", type=click.IntRange(min=1), default=20, help="Requests at once.")
@click.option(
    "--concurrent", type=click.IntRange(min=0), default=0, help="Requests at the same time."
)
@click.option(
    "--replace-after",
    type=click.FloatRange(min=0),
    metavar="HOURS",
    help="Earlier keys of this name end after so many hours: a change of keys.",
)
@home_option
@json_option
def add(
    name: str,
    scopes: tuple[str, ...],
    days: float | None,
    rate: float,
    burst: int,
    concurrent: int,
    replace_after: float | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Make a key for NAME and print its secret, which is shown once and kept nowhere."""
    from fedrisk.serving.access.keys import KeyRing, expire, make_key

    now = datetime.now(UTC)
    key, secret = make_key(
        name,
        scopes,
        now,
        expires=None if days is None else now + timedelta(days=days),
        per_second=rate,
        burst=burst,
        concurrent=concurrent,
    )

    def added(ring: KeyRing) -> KeyRing:
        if replace_after is not None:
            ring = expire(ring, name, now + timedelta(hours=replace_after))
        return KeyRing({**ring.keys, key.id: key})

    _change(home, added)
    if as_json:
        click.echo(json.dumps({"id": key.id, "name": name, "secret": secret}))
        return
    click.echo(f"key {key.id} for {name}: {', '.join(key.scopes)}", err=True)
    click.echo(secret)


@keys.command("list")
@home_option
@json_option
def list_keys(home: Path | None, as_json: bool) -> None:
    """List the keys, without their secrets."""
    from fedrisk.serving.access.keys import read_keys

    found = [_document(key) for key in read_keys(_file(home)).keys.values()]
    if as_json:
        click.echo(json.dumps({"keys": found}))
        return
    for each in found:
        click.echo("  ".join(f"{name} {value}" for name, value in each.items() if value))


@keys.command()
@click.argument("key")
@home_option
def revoke(key: str, home: Path | None) -> None:
    """Refuse KEY, an id or a name, from now on, also at servers that run."""
    from fedrisk.serving.access import keys as file

    _change(home, lambda ring: file.revoke(ring, key))
    click.echo(f"{key} is refused from now on", err=True)


def _file(home: Path | None) -> Path:
    """The file of keys; one that settings name needs no home."""
    from fedrisk.serving.access.keys import keys_file

    settings = read_settings()
    place = Home(home or settings.home)
    return keys_file(place if settings.keys is not None else place.prepare(), settings)


def _change(home: Path | None, change: Callable[[KeyRing], KeyRing]) -> None:
    """Change the file, one process at a time."""
    from fedrisk.serving.access.keys import read_keys, write_keys

    path = _file(home)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name("keys.lock")):
            write_keys(path, change(read_keys(path)))
    except OSError as error:
        raise HomeError(
            f"{path} cannot be changed: {error.strerror}",
            hint="a mounted secret is changed where it comes from; FEDRISK_KEYS names the file",
        ) from None


def _document(key: Key) -> dict[str, object]:
    limits: dict[str, object] = {
        "per_second": key.per_second,
        "burst": key.burst if key.per_second else 0,
        "concurrent": key.concurrent,
    }
    about: dict[str, object] = {"id": key.id, "name": key.name, "scopes": ",".join(key.scopes)}
    return about | {"created": key.created, "expires": key.expires} | limits
