"""A database that keeps some tables: SQLite or PostgreSQL, through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from fedrisk.errors import DatabaseAwayError, HomeError

#: Seconds to wait for another writer of a SQLite file, and for a server to take a connection.
BUSY_SECONDS, CONNECT_SECONDS = 10, 10
#: Milliseconds after which a connection whose other end says nothing any more is given up.
SILENT_MILLISECONDS = 20_000
#: By database, what knows "unless it is there already"; others are refused.
INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def time_text(time: datetime | None, timespec: str = "microseconds") -> str:
    """A time as tables keep it: ISO 8601 in UTC sorts as it is, and reads alike in every database.

    Parameters
    ----------
    time : datetime or None
        With its zone; None, never, is kept as an empty text.
    timespec : str
        Of `datetime.isoformat`; the same for all times of one column.

    >>> from datetime import timedelta, timezone
    >>> time_text(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))), "seconds")
    '2025-12-31T23:00:00+00:00'
    """
    return "" if time is None else time.astimezone(UTC).isoformat(timespec=timespec)


class Database:
    """Tables in one database, made with the first transaction.

    Parameters
    ----------
    url : str
        As SQLAlchemy reads it: SQLite or PostgreSQL.
    what : str
        What is kept there, for messages.
    tables : sqlalchemy.MetaData

    Raises
    ------
    HomeError
        When the address is none, or of a database that is not supported.
    """

    def __init__(self, url: str, what: str, tables: sql.MetaData) -> None:
        self._engine = _make_engine(url, what)
        self._what = what
        self._tables = tables
        self._made = False

    @property
    def backend(self) -> str:
        """A key of `INSERTS`."""
        return self._engine.dialect.name

    @contextmanager
    def transaction(self, done: str = "kept") -> Iterator[sql.Connection]:
        """A connection whose work counts as a whole.

        Parameters
        ----------
        done : str
            What cannot be done with what is kept where this fails: ``read``, ``written``.

        Raises
        ------
        HomeError
            When the database is away or cannot be written to.
        """
        try:
            if not self._made:
                self._make()
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            place = self._engine.url.render_as_string(hide_password=True)
            raise DatabaseAwayError(
                f"{self._what} cannot be {done} at {place}: {reason}",
                hint="the database must be reachable and have room",
            ) from None

    def _make(self) -> None:
        """Make the tables; another process may do so in this very moment: then they are there."""
        try:
            self._tables.create_all(self._engine)
        except SQLAlchemyError:
            self._tables.create_all(self._engine)
        self._made = True

    def put(
        self,
        connection: sql.Connection,
        table: sql.Table,
        key: Mapping[str, Any],
        values: Mapping[str, Any],
    ) -> None:
        """Write the row of a primary key, whether it is there already or not."""
        insert = INSERTS[self.backend](table).values({**key, **values})
        kept = insert.on_conflict_do_update(index_elements=list(key), set_=dict(values))
        connection.execute(kept)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def _make_engine(url: str, what: str) -> sql.Engine:
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
        if backend not in INSERTS:
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
