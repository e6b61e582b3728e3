"""When each command of the watch ran last, and how it ended: kept, so that a restart loses none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from fedrisk.database.schema import RUNS
from fedrisk.database.store import Database, time_text


@dataclass(frozen=True)
class LastRun:
    """The last run of one job.

    Attributes
    ----------
    began : datetime
        Or, before any run, when the schedule was first looked at.
    ended : datetime or None
        None while it runs, or where its process died.
    code : int
        Exit code; -1 while unknown.
    """

    began: datetime
    ended: datetime | None = None
    code: int = -1


class WatchStore:
    """Last runs for one model, in one database.

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
        self._database = Database(url, "the watch's runs")
        self._model = model

    def last(self, job: str) -> LastRun | None:
        """The last run of a job; None before the first look."""
        with self._database.transaction("read") as connection:
            chosen = sql.select(RUNS).where(RUNS.c.model == self._model, RUNS.c.job == job)
            row = connection.execute(chosen).first()
        return None if row is None else _run(row._mapping)  # noqa: SLF001 SQLAlchemy's public name

    def keep(self, job: str, run: LastRun) -> None:
        """Write down the last run of a job."""
        key = {"model": self._model, "job": job}
        found = {
            "began": time_text(run.began, "seconds"),
            "ended": time_text(run.ended, "seconds"),
            "code": run.code,
        }
        with self._database.transaction("written") as connection:
            self._database.put(connection, RUNS, key, found)

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()


def _run(row: Any) -> LastRun:
    ended = datetime.fromisoformat(row["ended"]) if row["ended"] else None
    return LastRun(datetime.fromisoformat(row["began"]), ended, row["code"])
