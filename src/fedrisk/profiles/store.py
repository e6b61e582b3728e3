"""Closed windows in a database: SQLite in the home, or PostgreSQL where an address is given.

A window is stored under its own id, so that storing it again, after a doubt whether the first
attempt went through, counts it once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from fedrisk.errors import HomeError
from fedrisk.profiles.profile import Profile, Window

_METADATA = sql.MetaData()
WINDOWS = sql.Table(
    "windows",
    _METADATA,
    sql.Column("id", sql.String(64), primary_key=True),
    sql.Column("model", sql.String(200), nullable=False),
    sql.Column("version", sql.String(64), nullable=False),
    sql.Column("study", sql.String(64), nullable=False),
    sql.Column("source", sql.String(200), nullable=False),
    # ISO 8601 in UTC: sorts as it is, and reads the same in every database.
    sql.Column("start", sql.String(40), nullable=False),
    sql.Column("end", sql.String(40), nullable=False, index=True),
    sql.Column("rows", sql.Float, nullable=False),
    sql.Column("profile", sql.Text, nullable=False),
)
#: Seconds to wait for another writer of a SQLite file, and for a server to take a connection.
BUSY_SECONDS, CONNECT_SECONDS = 10, 10
#: Milliseconds after which a connection whose other end says nothing any more is given up.
SILENT_MILLISECONDS = 20_000
#: By database, what knows "unless it is there already"; others are refused.
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def database_url(given: str | None, file: Path) -> str:
    """The address given, or that of the home's own file."""
    return given if given else f"sqlite:///{file}"


class WindowStore:
    """Windows in one database.

    Parameters
    ----------
    url : str
        As SQLAlchemy reads it.

    Raises
    ------
    HomeError
        From every method, when the database is away or cannot be written to; at once, when the
        address is none, or of a database that is not supported.
    """

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url, "monitoring windows")
        self._insert = _INSERTS[self._engine.dialect.name]
        self._made = False

    def add(self, windows: Sequence[Window]) -> int:
        """Store windows that are not stored yet; how many that were."""
        if not windows:
            return 0
        insert = self._insert(WINDOWS).on_conflict_do_nothing().returning(WINDOWS.c.id)
        with self._told("written") as connection:
            return len(connection.execute(insert, [_row(window) for window in windows]).all())

    def between(self, model: str, start: datetime, end: datetime) -> list[Window]:
        """Windows of a model that end after ``start`` and not after ``end``, oldest first."""
        columns = WINDOWS.c
        query = (
            sql.select(WINDOWS)
            .where(columns.model == model, columns.end > _text(start), columns.end <= _text(end))
            .order_by(columns.end, columns.id)
        )
        with self._told("read") as connection:
            return [_window(row._mapping) for row in connection.execute(query)]  # noqa: SLF001 SQLAlchemy's public name

    def forget_before(self, time: datetime) -> int:
        """Delete windows that ended before a time; how many."""
        with self._told("written") as connection:
            done = connection.execute(WINDOWS.delete().where(WINDOWS.c.end < _text(time)))
            return int(done.rowcount)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _make(self) -> None:
        """Make the table; another replica may do so in this very moment, and then it is there."""
        try:
            _METADATA.create_all(self._engine)
        except SQLAlchemyError:
            _METADATA.create_all(self._engine)
        self._made = True

    @contextmanager
    def _told(self, what: str) -> Iterator[sql.Connection]:
        try:
            if not self._made:
                self._make()
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            place = self._engine.url.render_as_string(hide_password=True)
            raise HomeError(
                f"monitoring windows cannot be {what} at {place}: {reason}",
                hint="the database must be reachable and have room",
            ) from None


def make_engine(url: str, what: str) -> sql.Engine:
    """Connections to a database, made when they are needed.

    Parameters
    ----------
    url : str
        As SQLAlchemy reads it: SQLite or PostgreSQL.
    what : str
        What is kept there, for messages.

    Raises
    ------
    HomeError
        When the address is none, or of a database that is not supported.
    """
    try:
        place = sql.make_url(url)
        backend = place.get_backend_name()
        if backend not in _INSERTS:
            raise HomeError(
                f"{what} cannot be kept in {backend}",
                hint="an address begins with sqlite:/// or postgresql+psycopg://",
            )
        options = _connecting(place, backend)
        return sql.create_engine(place, pool_pre_ping=True, connect_args=options)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        # The text of an address that cannot be read may hold a password.
        reason = str(error) if isinstance(error, ImportError) else type(error).__name__
        raise HomeError(
            f"the address of the database of {what} cannot be used: {reason}",
            hint="it begins with sqlite:/// or postgresql+psycopg://",
        ) from None


def _connecting(place: sql.URL, backend: str) -> dict[str, Any]:
    """Limits of waiting, where the address says nothing about them."""
    if backend == "sqlite":
        return {"timeout": BUSY_SECONDS}
    limits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": SILENT_MILLISECONDS}
    return {name: value for name, value in limits.items() if name not in place.query}


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _row(window: Window) -> dict[str, Any]:
    return {
        "id": window.id,
        "model": window.model,
        "version": window.version,
        "study": window.profile.study,
        "source": window.source,
        "start": _text(window.start),
        "end": _text(window.end),
        "rows": window.profile.rows,
        "profile": json.dumps(window.profile.document()),
    }


def _window(row: Any) -> Window:
    return Window(
        id=row["id"],
        model=row["model"],
        version=row["version"],
        source=row["source"],
        start=datetime.fromisoformat(row["start"]),
        end=datetime.fromisoformat(row["end"]),
        profile=Profile.from_document(json.loads(row["profile"])),
    )
