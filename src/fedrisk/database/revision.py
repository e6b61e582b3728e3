"""Which revision a database's tables are of, and whether this program can use them.

An empty database gets its tables at once. Older ones are upgraded: a SQLite file by a process of
its own, which copies it first, so that no serving process loads Alembic; a server's by its
operator, with `fedrisk database upgrade`. Newer ones are used while their upgrade says that the
programs of this revision can (`schema.COMPATIBILITY`).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sql

from fedrisk.database.schema import COMPATIBILITY, METADATA
from fedrisk.errors import HomeError

#: The revision of `schema`; four digits, so that they sort as they follow each other.
HEAD = "0001"
#: Alembic's table, under a name of ours: MLflow may keep its own in the same database.
VERSIONS = sql.Table(
    "fedrisk_revision",
    sql.MetaData(),
    sql.Column("version_num", sql.String(32), primary_key=True),
)
#: Held in PostgreSQL while tables are made; any number that nobody else takes.
_LOCK = 7_160_244_119
#: Seconds that the upgrade of a SQLite file may take.
UPGRADE_SECONDS = 600
State = Literal["empty", "unversioned", "older", "current", "newer", "too new"]


@dataclass(frozen=True)
class Found:
    """What a database holds.

    Attributes
    ----------
    state : State
        ``unversioned`` tables are of a release that kept no revision; ``newer`` ones can be used.
    revision : str
        Empty where there is none.
    """

    state: State
    revision: str = ""


def look(connection: sql.Connection, head: str = HEAD) -> Found:
    """What a database holds, as a program of revision ``head`` sees it."""
    inspector = sql.inspect(connection)
    revision = None
    if inspector.has_table(VERSIONS.name):
        revision = connection.execute(sql.select(VERSIONS.c.version_num)).scalar()
    if revision is None:
        ours = METADATA.tables.keys() & set(inspector.get_table_names())
        return Found("unversioned" if ours else "empty")
    if revision == head:
        return Found("current", revision)
    if revision < head:
        return Found("older", revision)
    oldest = None
    if inspector.has_table(COMPATIBILITY.name):
        oldest = connection.execute(sql.select(COMPATIBILITY.c.oldest)).scalar()
    return Found("newer" if oldest is not None and oldest <= head else "too new", revision)


def ensure(engine: sql.Engine) -> None:
    """Make the tables of an empty database, and refuse those that this program cannot use.

    Raises
    ------
    HomeError
        When the tables are older and a server's, cannot be upgraded, or are too new.
    SQLAlchemyError
        When the database is away or cannot be written to.
    """
    with engine.connect() as connection:
        found = look(connection)
    if found.state == "empty":
        found = _create(engine)
    if found.state in ("older", "unversioned"):
        if engine.dialect.name != "sqlite":
            raise HomeError(
                f"the tables at {_place(engine)} are of {_name(found)}, this release needs {HEAD}",
                hint="`fedrisk database upgrade` brings them there; the release before keeps on",
            )
        _upgrade_apart(engine)
    if found.state == "too new":
        raise HomeError(
            f"the tables at {_place(engine)} are of {_name(found)}, which is too new for this "
            f"release: it knows {HEAD}",
            hint="use the newer fedrisk, or restore a backup from before the upgrade",
        )


@contextmanager
def alone(engine: sql.Engine) -> Iterator[sql.Connection]:
    """A transaction in which nobody else makes or changes tables."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # The driver by itself begins none before tables are changed.
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
            return
        with connection.begin():
            connection.execute(sql.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            yield connection


def _create(engine: sql.Engine) -> Found:
    """Make all tables, unless somebody was quicker; what there is then."""
    with alone(engine) as connection:
        found = look(connection)
        if found.state == "empty":
            METADATA.create_all(connection)
            VERSIONS.create(connection, checkfirst=True)
            connection.execute(VERSIONS.insert(), {"version_num": HEAD})
            connection.execute(COMPATIBILITY.insert(), {"oldest": HEAD})
            found = Found("current", HEAD)
    return found


def _upgrade_apart(engine: sql.Engine) -> None:
    """Upgrade a SQLite file in a process of its own."""
    words = ["database", "upgrade", "--file", str(engine.url.database)]
    done = subprocess.run(  # noqa: S603 our own command
        [sys.executable, "-m", "fedrisk", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=UPGRADE_SECONDS,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        reason = lines[0].removeprefix("error: ") if lines else done.stderr.strip()[-300:]
        raise HomeError(
            f"the tables in {engine.url.database} are of an older release, and their upgrade "
            f"failed: {reason}",
            hint="`fedrisk database upgrade` tries again; nothing was changed",
        )


def _name(found: Found) -> str:
    return f"revision {found.revision}" if found.revision else "a release without revisions"


def _place(engine: sql.Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
