"""Operations in a database: who asked for what, what runs, and how each ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from fedrisk.database.connection import INSERTS
from fedrisk.database.schema import OPERATIONS
from fedrisk.database.store import Database, time_text
from fedrisk.errors import OverloadedError, RetrainingError
from fedrisk.retraining.operation import Asked, Operation

#: Operations that wait for their turn; more are turned away.
MOST_QUEUED = 20
#: An operation in whose middle the watch has ended so often is not begun again.
MOST_BEGUN = 3
#: Operations that a list shows, the newest.
SHOWN = 50
#: Characters of a told line that are kept.
LONGEST_LINE = 500


class OperationStore:
    """Operations of one watch.

    Parameters
    ----------
    url : str
        As SQLAlchemy reads it; the watch's own, for nobody else runs what is asked of it.
    most_queued : int

    Raises
    ------
    HomeError
        From every method, when the database is away or cannot be written to.
    """

    def __init__(self, url: str, most_queued: int = MOST_QUEUED) -> None:
        self._database = Database(url, "what the watch was asked")
        self._most = most_queued

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    def add(self, asked: Asked, now: datetime) -> Operation:
        """Keep what was asked for; the same id again is the same operation.

        Raises
        ------
        RetrainingError
            When the id asked for something else before.
        OverloadedError
            When too many wait for their turn.
        """
        values = {
            "id": asked.id,
            "command": asked.command,
            "arguments": asked.text,
            "state": "queued",
            "at": time_text(now),
            "begun": 0,
            "began": "",
            "ended": "",
            "code": None,
            "answer": "null",
            "lines": "[]",
            "told": 0,
        }
        insert = INSERTS[self._database.backend](OPERATIONS).on_conflict_do_nothing()
        queued = sql.select(sql.func.count()).where(OPERATIONS.c.state == "queued")
        with self._database.transaction("written") as connection:
            known = _found(connection, asked.id)
            if known is None:
                if connection.execute(queued).scalar_one() >= self._most:
                    raise OverloadedError(
                        f"{self._most} operations wait for their turn", hint="ask again later"
                    )
                connection.execute(insert.values(values))
                known = _found(connection, asked.id)
        assert known is not None  # noqa: S101 it was written in this transaction
        if (known.asked.command, known.asked.text) != (asked.command, asked.text):
            raise RetrainingError(
                f"operation {asked.id} asked for something else", hint="another id is another one"
            )
        return known

    def find(self, identifier: str) -> Operation | None:
        """An operation by its id."""
        with self._database.transaction("read") as connection:
            return _found(connection, identifier)

    def listed(self) -> list[Operation]:
        """The newest operations."""
        return self._chosen(sql.select(OPERATIONS).order_by(OPERATIONS.c.at.desc()).limit(SHOWN))

    def waiting(self) -> list[Operation]:
        """Operations whose retraining goes on."""
        return self._chosen(sql.select(OPERATIONS).where(OPERATIONS.c.state == "waiting"))

    def take(self, now: datetime) -> Operation | None:
        """Begin the oldest one that is to be run; None where there is none.

        One that is running is one in whose middle the watch ended, for whoever takes runs nothing
        at this moment; it comes first. After `MOST_BEGUN` such ends it counts as failed.
        """
        due = sql.select(OPERATIONS).where(OPERATIONS.c.state.in_(("running", "queued")))
        due = due.order_by(OPERATIONS.c.state.desc(), OPERATIONS.c.at, OPERATIONS.c.id)
        while True:
            found = self._chosen(due.limit(1))
            if not found:
                return None
            operation = found[0]
            if operation.begun < MOST_BEGUN:
                values = {"state": "running", "begun": operation.begun + 1, "began": time_text(now)}
                self._change(operation.asked.id, values)
                return self.find(operation.asked.id)
            told = f"the watch ended in the middle of it {operation.begun} times"
            self.end(operation, 1, {"error": told, "hint": "its log says why"}, (), 0, now)

    def end(
        self,
        operation: Operation,
        code: int,
        answer: Mapping[str, Any] | None,
        lines: Sequence[str],
        told: int,
        now: datetime,
    ) -> None:
        """Write down how an operation ended."""
        values = {"state": "ended", "code": code, "ended": time_text(now)}
        self._change(operation.asked.id, values | _outcome(answer, lines, told))

    def wait(
        self, operation: Operation, answer: Mapping[str, Any], lines: Sequence[str], told: int
    ) -> None:
        """Write down that an operation's command has ended, and its retraining goes on."""
        values = {"state": "waiting", "code": 0}
        self._change(operation.asked.id, values | _outcome(answer, lines, told))

    def forget_before(self, time: datetime) -> None:
        """Delete operations that ended before a time."""
        old = (OPERATIONS.c.state == "ended", OPERATIONS.c.ended < time_text(time))
        with self._database.transaction("written") as connection:
            connection.execute(OPERATIONS.delete().where(*old))

    def _chosen(self, query: sql.Select[Any]) -> list[Operation]:
        with self._database.transaction("read") as connection:
            return [_operation(row) for row in connection.execute(query)]

    def _change(self, identifier: str, values: Mapping[str, Any]) -> None:
        with self._database.transaction("written") as connection:
            chosen = OPERATIONS.update().where(OPERATIONS.c.id == identifier)
            connection.execute(chosen.values(**values))


def _outcome(
    answer: Mapping[str, Any] | None, lines: Sequence[str], told: int
) -> dict[str, str | int]:
    shown = [line[:LONGEST_LINE] for line in lines]
    text = json.dumps(None if answer is None else dict(answer))
    return {"answer": text, "lines": json.dumps(shown), "told": told}


def _found(connection: sql.Connection, identifier: str) -> Operation | None:
    row = connection.execute(sql.select(OPERATIONS).where(OPERATIONS.c.id == identifier)).first()
    return None if row is None else _operation(row)


def _operation(row: Any) -> Operation:
    return Operation(
        asked=Asked(row.id, row.command, json.loads(row.arguments)),
        state=row.state,
        at=datetime.fromisoformat(row.at),
        begun=row.begun,
        began=_time(row.began),
        ended=_time(row.ended),
        code=row.code,
        answer=json.loads(row.answer),
        lines=tuple(json.loads(row.lines)),
        told=row.told,
    )


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
