"""What was seen and told, in the home's database or the one that settings name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from fedrisk.database.schema import ALERTS
from fedrisk.database.store import Database, time_text
from fedrisk.monitoring.alerts.alert import Alert


@dataclass(frozen=True)
class Standing:
    """What is known of one trouble.

    Attributes
    ----------
    alert : Alert
        As seen last.
    source : str
        Who sees it: when it is not seen there any more, it is gone.
    since, seen : datetime
        First and last.
    told : datetime or None
        When people were told last.
    told_level : str
        How loudly; empty where they were not.
    times : int
        How often it was seen since ``since``.
    active : bool
    """

    alert: Alert
    source: str
    since: datetime
    seen: datetime
    told: datetime | None
    told_level: str
    times: int
    active: bool


class AlertStore:
    """Alerts of one model's watch, in one database.

    Parameters
    ----------
    url : str
        As SQLAlchemy reads it.
    model : str
        The registered model's name.

    Raises
    ------
    HomeError
        From every method, when the database is away or cannot be written to.
    """

    def __init__(self, url: str, model: str) -> None:
        self._database = Database(url, "alerts")
        self._model = model

    def all(self) -> list[Standing]:
        """Every trouble that is kept, latest first."""
        with self._database.transaction("read") as connection:
            mine = sql.select(ALERTS).where(ALERTS.c.model == self._model)
            rows = connection.execute(mine.order_by(ALERTS.c.seen.desc()))
            return [_standing(row._mapping) for row in rows]  # noqa: SLF001 SQLAlchemy's public name

    def keep(self, standings: Sequence[Standing]) -> None:
        """Write down what is known of some troubles."""
        with self._database.transaction("written") as connection:
            # In one order, so that two processes never wait for each other's rows.
            for each in sorted(standings, key=lambda standing: standing.alert.key):
                key = {"model": self._model, "key": each.alert.key}
                self._database.put(connection, ALERTS, key, _row(each))

    def forget_before(self, time: datetime) -> int:
        """Delete troubles that are gone since before a time; how many."""
        mine = ALERTS.c.model == self._model
        gone = sql.and_(mine, ~ALERTS.c.active, ALERTS.c.seen < time_text(time, "seconds"))
        with self._database.transaction("written") as connection:
            return int(connection.execute(ALERTS.delete().where(gone)).rowcount)

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()


def _row(standing: Standing) -> dict[str, Any]:
    alert = standing.alert
    return {
        "source": standing.source,
        "kind": alert.kind,
        "subject": alert.subject,
        "level": alert.level,
        "title": alert.title,
        "text": alert.text,
        "since": time_text(standing.since, "seconds"),
        "seen": time_text(standing.seen, "seconds"),
        "told": time_text(standing.told, "seconds"),
        "told_level": standing.told_level,
        "times": standing.times,
        "active": standing.active,
    }


def _standing(row: Any) -> Standing:
    return Standing(
        alert=Alert(row["kind"], row["subject"], row["level"], row["title"], row["text"]),
        source=row["source"],
        since=datetime.fromisoformat(row["since"]),
        seen=datetime.fromisoformat(row["seen"]),
        told=datetime.fromisoformat(row["told"]) if row["told"] else None,
        told_level=row["told_level"],
        times=row["times"],
        active=row["active"],
    )
