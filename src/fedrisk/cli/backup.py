"""`fedrisk backup`: copy a coordinator or a site whole, check the copy, put it back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedrisk.cli.options import NAME, json_option
from fedrisk.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from fedrisk.backup.creation import Sources
    from fedrisk.backup.manifest import Manifest

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
home_option = click.option("--home", type=_FOLDER, help="A home; the part `home`.")
federation_option = click.option(
    "--federation", type=_FOLDER, help="A coordinator's folder; the part `federation`."
)
site_option = click.option("--site", type=_FOLDER, help="A site's folder; the part `site`.")
folder_option = click.option(
    "--folder",
    "folders",
    multiple=True,
    metavar="NAME=DIR",
    help="Another folder, such as MLflow's artifacts; several times for several.",
)
database_option = click.option(
    "--database",
    "databases",
    multiple=True,
    metavar="NAME=URL",
    help="A PostgreSQL database; ?password_file=FILE names its password's file.",
)
dump_option = click.option(
    "--dump",
    "dumps",
    multiple=True,
    metavar="NAME=FILE",
    help="A dump that pg_dump made, or pg_restore is to read, somewhere else.",
)
key_option = click.option("--key", type=_FILE, help="Private key that opens what is sealed.")


@click.group()
def backup() -> None:
    """Back up and restore: a home, a federation's folder, a site's folder, databases.

    A site's operator backs up the site's folder alone, and nobody else does.
    """


@backup.command()
@click.option("--output", type=_FILE, required=True, help="Private key; NAME.pub gets the public.")
def keygen(output: Path) -> None:
    """Make a pair of keys: backups are sealed for the public one, the private one opens them."""
    from fedrisk.sealing import make_keys

    public = make_keys(output)
    click.echo(f"{public} is for --recipient; keep {output} where the backups are not", err=True)


@backup.command()
@click.option("--output", type=_FOLDER, required=True, help="Folder that backups lie in.")
@home_option
@federation_option
@site_option
@folder_option
@database_option
@dump_option
@click.option("--recipient", type=_FILE, help="Public key that the backup is sealed for.")
@click.option(
    "--keep", type=click.IntRange(min=1), default=14, show_default=True, help="Newest that stay."
)
@json_option
def create(
    output: Path,
    home: Path | None,
    federation: Path | None,
    site: Path | None,
    folders: tuple[str, ...],
    databases: tuple[str, ...],
    dumps: tuple[str, ...],
    recipient: Path | None,
    keep: int,
    as_json: bool,
) -> None:
    """Make a backup while everything runs; without a source, of the home and its database."""
    from fedrisk.backup.creation import Sources
    from fedrisk.backup.creation import create as make
    from fedrisk.backup.postgresql import check_address
    from fedrisk.sealing import read_public

    public = None if recipient is None else read_public(recipient)
    urls = _pairs("--database", databases)
    for name, url in urls.items():
        check_address(name, url)
    chosen = _folders(home, federation, site, folders)
    files = {name: Path(file) for name, file in _pairs("--dump", dumps).items()}
    sources = Sources(files, urls, chosen)
    if not (files or urls or chosen):
        sources = _usual()
    made, manifest = make(output, sources, public, keep, lambda: datetime.now(UTC))
    if public is None and not as_json:
        click.echo("warning: it is not sealed, and holds private keys: --recipient seals", err=True)
    _show(made, manifest, as_json=as_json)


@backup.command()
@click.argument("place", type=_FOLDER)
@key_option
@json_option
def verify(place: Path, key: Path | None, as_json: bool) -> None:
    """Check the backup at PLACE, or the newest of a folder of backups: every hash, every part."""
    from fedrisk.backup.restoring import verify as check
    from fedrisk.backup.shelf import newest

    chosen = newest(place)
    _show(chosen, check(chosen, _key(key)), as_json=as_json)


@backup.command()
@click.argument("place", type=_FOLDER)
@home_option
@federation_option
@site_option
@folder_option
@database_option
@dump_option
@key_option
@click.option("--force", is_flag=True, help="Put aside what is there; replace tables.")
@json_option
def restore(
    place: Path,
    home: Path | None,
    federation: Path | None,
    site: Path | None,
    folders: tuple[str, ...],
    databases: tuple[str, ...],
    dumps: tuple[str, ...],
    key: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Put back the parts that are named, from the backup at PLACE or the newest there.

    Stop what uses them before.
    """
    from fedrisk.backup.postgresql import check_address
    from fedrisk.backup.restoring import Targets
    from fedrisk.backup.restoring import restore as put_back
    from fedrisk.backup.shelf import newest

    urls = _pairs("--database", databases)
    for name, url in urls.items():
        check_address(name, url)
    files = {name: Path(file) for name, file in _pairs("--dump", dumps).items()}
    targets = Targets(_folders(home, federation, site, folders), urls, files)
    if not (targets.folders or targets.databases or targets.dumps):
        raise UsageError("nothing is named to put back", hint="--home DIR, --database NAME=URL ...")
    chosen = newest(place)
    manifest = put_back(chosen, targets, _key(key), datetime.now(UTC), force=force)
    _show(chosen, manifest, as_json=as_json)


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        name, _, value = text.partition("=")
        if not NAME.fullmatch(name) or not value:
            raise UsageError(f"{option} {text!r} is not NAME=...")
        if name in pairs:
            raise UsageError(f"{option} {name} is given twice")
        pairs[name] = value
    return pairs


def _folders(
    home: Path | None, federation: Path | None, site: Path | None, more: tuple[str, ...]
) -> dict[str, Path]:
    """Folders by name; the home first, for its databases name what the others hold."""
    named = {"home": home, "federation": federation, "site": site}
    chosen = {name: folder for name, folder in named.items() if folder is not None}
    for name, folder in _pairs("--folder", more).items():
        if name in chosen:
            raise UsageError(f"the folder {name} is given twice")
        chosen[name] = Path(folder)
    return chosen


def _usual() -> Sources:
    from fedrisk.backup.creation import Sources
    from fedrisk.home import Home
    from fedrisk.settings import read_settings

    settings = read_settings()
    home = Home(settings.home).existing()
    url = settings.database(home.state)
    databases = {"fedrisk": url} if url.startswith("postgresql") else {}
    return Sources(databases=databases, folders={"home": home.root})


def _key(file: Path | None) -> X25519PrivateKey | None:
    from fedrisk.sealing import read_private

    return None if file is None else read_private(file)


def _show(place: Path, manifest: Manifest, *, as_json: bool) -> None:
    if as_json:
        about = {"backup": str(place), "bytes": manifest.bytes}
        click.echo(json.dumps(about | manifest.document()))
        return
    click.echo(f"{place}: {manifest.bytes} bytes, of {manifest.time}")
    for part in manifest.parts:
        click.echo(f"  {part.kind} {part.name}: {part.bytes} bytes")
