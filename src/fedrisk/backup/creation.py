"""Make a backup: databases first, then the folders whose files they name; all of it or nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fedrisk import __version__
from fedrisk.backup.manifest import FILE, Kind, Manifest, Part
from fedrisk.backup.part_file import SEALED, PartWriter, writing
from fedrisk.backup.postgresql import dump
from fedrisk.backup.shelf import forget, name_of, new_draft, put_on, tell_done, tell_failed
from fedrisk.backup.tree import write_tree
from fedrisk.durable import write_whole
from fedrisk.errors import HomeError
from fedrisk.home import locked

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

#: Parts whose folders are told how it went as well: a coordinator shows that among its figures.
TOLD = ("federation",)


@dataclass(frozen=True)
class Sources:
    """What is copied, by name.

    Attributes
    ----------
    dumps : mapping of str to Path
        Dumps of databases that somebody made before.
    databases : mapping of str to str
        Addresses of PostgreSQL databases.
    folders : mapping of str to Path
        In the order in which they are read.
    """

    dumps: Mapping[str, Path] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)


def create(
    shelf: Path,
    sources: Sources,
    recipient: X25519PublicKey | None,
    keep: int,
    now: Callable[[], datetime],
) -> tuple[Path, Manifest]:
    """Make a backup on a shelf, and delete those beyond the newest ``keep``; its folder.

    A row of MLflow's database names artifacts that were written before it and are never changed:
    so databases are read first, and every artifact that they name is in the copy.

    Parameters
    ----------
    shelf : Path
        Made if it is not there.
    sources : Sources
    recipient : X25519PublicKey, optional
        Whom it is sealed for.
    keep : int
        At least 1.
    now : callable
        The time, UTC.

    Raises
    ------
    HomeError
        When something cannot be read or written; earlier backups are as they were.
    """
    try:
        shelf.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(shelf / ".lock", HomeError, 0.0):
            return _create(shelf, sources, recipient, keep, now)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        where = getattr(error, "filename", None) or shelf
        raise HomeError(
            f"no backup was made: {where}: {reason}", hint="earlier ones are as they were"
        ) from None


def _create(
    shelf: Path,
    sources: Sources,
    recipient: X25519PublicKey | None,
    keep: int,
    now: Callable[[], datetime],
) -> tuple[Path, Manifest]:
    began = now()
    told = [shelf, *(folder for name, folder in sources.folders.items() if name in TOLD)]
    draft = None
    try:
        name = name_of(began)
        draft = new_draft(shelf, name)
        parts = tuple(_parts(draft, sources, recipient))
        time = began.isoformat(timespec="seconds")
        manifest = Manifest(time, __version__, recipient is not None, parts)
        write_whole(draft / FILE, json.dumps(manifest.document(), indent=1) + "\n")
        made = put_on(shelf, draft, name)
    except BaseException:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        tell_failed(told, now())
        raise
    tell_done(told, manifest)
    forget(shelf, keep)
    return made, manifest


def _parts(draft: Path, sources: Sources, recipient: X25519PublicKey | None) -> list[Part]:
    """Write every part's file."""

    def part(name: str, kind: Kind, end: str, write: Callable[[PartWriter], object]) -> Part:
        file = draft / f"{kind}-{name}{end}{SEALED if recipient else ''}"
        with writing(file, recipient) as target:
            write(target)
            digest = target.finish()
        return Part(name, kind, file.name, target.bytes, digest)

    def copied(file: Path) -> Callable[[PartWriter], object]:
        def write(target: PartWriter) -> None:
            with file.open("rb") as stream:
                shutil.copyfileobj(stream, target)

        return write

    parts = [part(n, "database", ".dump", copied(file)) for n, file in sources.dumps.items()]
    for name, url in sources.databases.items():
        parts.append(part(name, "database", ".dump", lambda t, n=name, u=url: dump(n, u, t)))  # type: ignore[misc]
    for name, folder in sources.folders.items():
        if not folder.is_dir():
            raise HomeError(f"{name}: {folder} is no folder")
        parts.append(
            part(name, "folder", ".tar.gz", lambda t, f=folder: write_tree(f, t, draft))  # type: ignore[misc]
        )
    return parts
