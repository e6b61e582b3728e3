"""Closed windows in a database: SQLite in the home, or PostgreSQL where an address is given.

A window is stored under its own id, so that storing it again, after a doubt whether the first
attempt went through, counts it once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from fedrisk.database.connection import INSERTS
from fedrisk.database.schema import WINDOWS
from fedrisk.database.store import Database, time_text
from fedrisk.profiles.profile import Profile, Window


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
        self._database = Database(url, "monitoring windows")
        self._insert = INSERTS[self._database.backend]

    def add(self, windows: Sequence[Window]) -> int:
        """Store windows that are not stored yet; how many that were."""
        if not windows:
            return 0
        insert = self._insert(WINDOWS).on_conflict_do_nothing().returning(WINDOWS.c.id)
        with self._database.transaction("written") as connection:
            return len(connection.execute(insert, [_row(window) for window in windows]).all())

    def between(self, model: str, start: datetime, end: datetime) -> list[Window]:
        """Windows of a model that end after ``start`` and not after ``end``, oldest first."""
        columns = WINDOWS.c
        query = (
            sql.select(WINDOWS)
            .where(
                columns.model == model,
                columns.end > time_text(start),
                columns.end <= time_text(end),
            )
            .order_by(columns.end, columns.id)
        )
        with self._database.transaction("read") as connection:
            return [_window(row._mapping) for row in connection.execute(query)]  # noqa: SLF001 SQLAlchemy's public name

    def forget_before(self, time: datetime) -> int:
        """Delete windows that ended before a time; how many."""
        with self._database.transaction("written") as connection:
            done = connection.execute(WINDOWS.delete().where(WINDOWS.c.end < time_text(time)))
            return int(done.rowcount)

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()


def _row(window: Window) -> dict[str, Any]:
    return {
        "id": window.id,
        "model": window.model,
        "version": window.version,
        "study": window.profile.study,
        "source": window.source,
        "start": time_text(window.start),
        "end": time_text(window.end),
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
