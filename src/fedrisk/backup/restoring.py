"""Check a backup, and put it back: hashes first, then folders, then databases."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fedrisk.backup import postgresql
from fedrisk.backup.manifest import Manifest, check_parts, read_manifest
from fedrisk.backup.part_file import reading
from fedrisk.backup.tree import REPLACED, RESTORING, check_tree, last, read_tree
from fedrisk.errors import HomeError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

#: What a fresh volume holds by itself.
_NOTHING = {"lost+found"}
_DUMP_START = b"PGDMP"


@dataclass(frozen=True)
class Targets:
    """Where parts go, by name; parts that are not named stay in the backup.

    Attributes
    ----------
    folders : mapping of str to Path
    databases : mapping of str to str
        Addresses of PostgreSQL databases.
    dumps : mapping of str to Path
        New files for dumps that somebody else puts back.
    """

    folders: Mapping[str, Path] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=dict)
    dumps: Mapping[str, Path] = field(default_factory=dict)


def verify(backup: Path, key: X25519PrivateKey | None) -> Manifest:
    """Check a backup's hashes, and read every part to its end where that is possible.

    Parameters
    ----------
    backup : Path
        Its folder.
    key : X25519PrivateKey, optional
        Opens what is sealed; without it, sealed parts are checked by their hashes alone.

    Raises
    ------
    HomeError
        When it is not whole, or not as it was written.
    """
    manifest = read_manifest(backup)
    check_parts(backup, manifest)
    if manifest.sealed and key is None:
        return manifest
    for part in manifest.parts:
        with reading(backup / part.file, key if manifest.sealed else None) as stream:
            if part.kind == "folder":
                check_tree(stream)
            elif stream.read(len(_DUMP_START)) != _DUMP_START:
                raise HomeError(f"{part.file} is no dump of PostgreSQL")
            while stream.read(1 << 20):
                pass
    return manifest


def restore(
    backup: Path, targets: Targets, key: X25519PrivateKey | None, now: datetime, *, force: bool
) -> Manifest:
    """Put a backup back.

    Parameters
    ----------
    backup : Path
        Its folder.
    targets : Targets
    key : X25519PrivateKey, optional
        Opens what is sealed.
    now : datetime
        Names what is put aside.
    force : bool
        Put aside what a folder holds, within it, and replace the tables of a database.

    Raises
    ------
    UsageError
        When it is sealed and there is no key.
    HomeError
        When the backup is not as it was written, lacks a part, or a target is not empty: then
        nothing was touched. When something cannot be written: the same command with ``force`` then
        begins anew.
    """
    manifest = read_manifest(backup)
    if manifest.sealed and key is None:
        raise UsageError(f"{backup} is sealed", hint="--key names its recipient's private key")
    opener = key if manifest.sealed else None
    folders = {n: manifest.part(n, "folder") for n in targets.folders}
    databases = {n: manifest.part(n, "database") for n in (*targets.databases, *targets.dumps)}
    check_parts(backup, manifest)
    _check_targets(targets, force=force)
    try:
        for name, part in folders.items():
            with reading(backup / part.file, opener) as stream:
                _put_folder(stream, targets.folders[name], now)
        for name, file in targets.dumps.items():
            with reading(backup / databases[name].file, opener) as stream, file.open("xb") as out:
                shutil.copyfileobj(stream, out)
        os.sync()
    except OSError as error:
        raise HomeError(
            f"not restored: {error.filename or backup}: {error.strerror or error}",
            hint="make room, then the same command with --force",
        ) from None
    for name, url in targets.databases.items():
        with reading(backup / databases[name].file, opener) as stream:
            postgresql.restore(name, url, stream, force=force)
    return manifest


def _check_targets(targets: Targets, *, force: bool) -> None:
    for name, folder in targets.folders.items():
        if folder.exists() and not folder.is_dir():
            raise HomeError(f"{name}: {folder} is no folder")
        if not force and folder.exists() and {f.name for f in folder.iterdir()} - _NOTHING:
            raise HomeError(
                f"{name}: {folder} is not empty",
                hint="stop what uses it, then --force puts its content aside, within it",
            )
    for name, file in targets.dumps.items():
        if file.exists():
            raise HomeError(f"{name}: {file} is there already", hint="name a new file")
    for name, url in targets.databases.items():
        if not postgresql.is_empty(name, url) and not force:
            raise HomeError(
                f"database {name!r} is not empty",
                hint="stop what uses it, then --force replaces its tables",
            )


def _put_folder(stream: object, target: Path, now: datetime) -> None:
    """Unpack within the target, which may be a volume's root, and move every entry in its place."""
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = target / RESTORING
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    try:
        read_tree(stream, draft)  # type: ignore[arg-type]
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _put_aside(target, now)
    for name in last([each.name for each in draft.iterdir()]):
        (draft / name).rename(target / name)
    with suppress(PermissionError):  # a volume's root may be somebody else's
        target.chmod(draft.stat().st_mode & 0o777)
    draft.rmdir()


def _put_aside(target: Path, now: datetime) -> None:
    former = [
        each
        for each in target.iterdir()
        if each.name not in {RESTORING, *_NOTHING} and not each.name.startswith(REPLACED)
    ]
    if not former:
        return
    aside = target / f"{REPLACED}{now:%Y%m%dT%H%M%SZ}"
    aside.mkdir(mode=0o700)
    for each in former:
        each.rename(aside / each.name)
