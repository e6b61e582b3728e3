"""Verdicts and the memory between them, in a database: the home's, or the one that is named.

A verdict is stored together with the memory that it leaves, in one transaction: whoever dies in
between has judged nothing, and judges the same windows again.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from fedrisk.database.connection import INSERTS
from fedrisk.database.schema import MEMORIES, VERDICTS
from fedrisk.database.store import Database, time_text
from fedrisk.monitoring.memory import Memory
from fedrisk.monitoring.verdict import Verdict


class VerdictStore:
    """Verdicts on the versions of models.

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
        self._database = Database(url, "verdicts")
        self._insert = INSERTS[self._database.backend]

    def memory(self, model: str, version: str) -> Memory:
        """What the last verdict on a version left; empty before the first."""
        query = sql.select(MEMORIES.c.document).where(
            MEMORIES.c.model == model, MEMORIES.c.version == version
        )
        with self._database.transaction("read") as connection:
            text = connection.execute(query).scalar()
        return Memory() if text is None else Memory.from_document(json.loads(text))

    def add(self, model: str, version: str, verdict: Verdict) -> None:
        """Store a verdict and the memory that it leaves; the same verdict again changes nothing."""
        key = {"model": model, "version": version}
        row = key | {
            "at": time_text(verdict.at),
            "status": verdict.status,
            "document": json.dumps(verdict.document()),
        }
        memory = json.dumps(verdict.memory.document())
        with self._database.transaction("written") as connection:
            connection.execute(self._insert(VERDICTS).values(row).on_conflict_do_nothing())
            self._database.put(connection, MEMORIES, key, {"document": memory})

    def verdicts(self, model: str, limit: int = 100) -> list[dict[str, Any]]:
        """Documents of the last verdicts on a model, each with its ``version``, newest first."""
        columns = VERDICTS.c
        query = (
            sql.select(columns.version, columns.document)
            .where(columns.model == model)
            .order_by(columns.at.desc())
            .limit(limit)
        )
        with self._database.transaction("read") as connection:
            rows = connection.execute(query).all()
        return [{"version": version, **json.loads(text)} for version, text in rows]

    def forget_before(self, time: datetime) -> int:
        """Delete verdicts that were given before a time; how many."""
        with self._database.transaction("written") as connection:
            done = connection.execute(VERDICTS.delete().where(VERDICTS.c.at < time_text(time)))
            return int(done.rowcount)

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()
