"""Bring the tables of a database to this release's revision, by Alembic."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError

from fedrisk.database.connection import make_engine
from fedrisk.database.revision import HEAD, VERSIONS, Found, alone, look
from fedrisk.database.schema import COMPATIBILITY
from fedrisk.durable import flush_folder
from fedrisk.errors import HomeError

MIGRATIONS = Path(__file__).with_name("migrations")


def upgrade(url: str, *, more: Sequence[Path] = (), head: str = HEAD) -> Found:
    """Bring a database to the newest revision: all of it, or nothing; what it was before.

    Parameters
    ----------
    url : str
        As `make_engine` reads it.
    more : sequence of Path
        Further folders of revisions.
    head : str
        The revision to reach.

    Raises
    ------
    HomeError
        When the database is away or too new, or a revision cannot be applied; nothing is changed.
    """
    engine = make_engine(url, "tables")
    try:
        with alone(engine) as connection:
            found = look(connection, head)
            if found.state in ("empty", "unversioned", "older"):
                if engine.dialect.name == "sqlite" and found.state != "empty":
                    _copy(Path(str(engine.url.database)), head)
                _run(connection, more, head)
    except (SQLAlchemyError, OSError, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        place = engine.url.render_as_string(hide_password=True)
        raise HomeError(
            f"{place} cannot be upgraded: {reason}",
            hint="it is as it was; the database must be reachable and have room",
        ) from None
    finally:
        engine.dispose()
    if found.state == "too new":
        raise HomeError(
            f"the database is of revision {found.revision}, which is too new for this release",
            hint="use the newer fedrisk that upgraded it",
        )
    return found


def copy_of(file: Path, head: str = HEAD) -> Path:
    """Where a SQLite file is copied to before its upgrade to a revision."""
    return file.with_name(f"{file.name}.before-{head}")


def _copy(file: Path, head: str) -> None:
    """Copy a SQLite file that this process alone may write to, whole or not at all."""
    target = copy_of(file, head)
    draft = target.with_name(target.name + ".part")
    draft.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(draft)) as copy:
            source.backup(copy)
        shutil.copymode(file, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    flush_folder(file.parent)


def _run(connection: sql.Connection, more: Sequence[Path], head: str) -> None:
    folders = [str(folder) for folder in (MIGRATIONS, *more)]
    script = ScriptDirectory(str(MIGRATIONS), version_locations=folders)

    def steps(revision: Any, _context: Any) -> Any:
        return script._upgrade_revs(head, revision)  # noqa: SLF001 as alembic.command calls it

    def keep_oldest(*, step: Any, **_: Any) -> None:
        connection.execute(COMPATIBILITY.delete())
        connection.execute(COMPATIBILITY.insert(), {"oldest": step.up_revision.module.oldest})

    options = {"version_table": VERSIONS.name, "fn": steps, "on_version_apply": (keep_oldest,)}
    context = MigrationContext.configure(connection, opts=options)
    with context.begin_transaction(), Operations.context(context):
        context.run_migrations()
