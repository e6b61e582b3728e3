"""Transactions of what keeps something in our database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from fedrisk.database.connection import INSERTS, make_engine
from fedrisk.database.revision import ensure
from fedrisk.errors import DatabaseAwayError


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
    """One database, whose tables are made or looked at with the first transaction.

    Parameters
    ----------
    url : str
        As `make_engine` reads it: SQLite or PostgreSQL.
    what : str
        What is kept there, for messages.

    Raises
    ------
    HomeError
        When the address is none, or of a database that is not supported.
    """

    def __init__(self, url: str, what: str) -> None:
        self._engine = make_engine(url, what)
        self._what = what
        self._ready = False

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
            When the database is away, cannot be written to, or has tables of another release.
        """
        try:
            if not self._ready:
                ensure(self._engine)
                self._ready = True
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            place = self._engine.url.render_as_string(hide_password=True)
            raise DatabaseAwayError(
                f"{self._what} cannot be {done} at {place}: {reason}",
                hint="the database must be reachable and have room",
            ) from None

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


@contextmanager
def looking(url: str) -> Iterator[sql.Connection]:
    """A connection of its own, to look at what is there whatever its revision.

    Raises
    ------
    HomeError
        When the address is none, or the database is away.
    """
    engine = make_engine(url, "tables")
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        place = engine.url.render_as_string(hide_password=True)
        raise DatabaseAwayError(
            f"the database at {place} cannot be read: {reason}",
            hint="it must be reachable; FEDRISK_DATABASE_URL names it",
        ) from None
    finally:
        engine.dispose()
