"""Jobs in a database: their states change by compare-and-set, under a lease with a number.

Who claims a job raises its number (`fence`). Whatever an earlier holder still says is refused from
then on, because it says it under the number that it had.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from fedrisk.database.schema import JOBS
from fedrisk.database.store import Database
from fedrisk.errors import RateLimitError

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
#: Jobs that a list shows, the newest.
SHOWN = 100
_OPEN = JOBS.c.state.in_((QUEUED, RUNNING))


@dataclass(frozen=True, slots=True)
class Job:
    """One job as the database has it; times in seconds since 1970.

    Attributes
    ----------
    owner : str
        Key or token's subject that made it; empty where there are no keys.
    place, replica : str
        The disk that holds its files, and who had it.
    bytes, read : int
        Of the body as it came, and of it read so far.
    fence : int
        Raised with each claim; part of the result's file name.
    lease : float
        Until when its holder is believed to live.
    model : dict
        Name and version, once known.
    error : dict or None
        Status and text, as a batch would have been answered, without values.
    """

    id: str
    owner: str
    place: str
    replica: str
    media_type: str
    gzip: bool
    explain: bool
    request_id: str
    bytes: int
    created: float
    state: str = QUEUED
    started: float | None = None
    ended: float | None = None
    read: int = 0
    rows: int = 0
    attempts: int = 0
    fence: int = 0
    holder: str = ""
    lease: float = 0.0
    model: Any = None
    error: Any = None

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.state in (QUEUED, RUNNING)


class JobStore:
    """Jobs in one database.

    Parameters
    ----------
    url : str
        As SQLAlchemy reads it: SQLite or PostgreSQL.

    Raises
    ------
    HomeError
        From every method, when the database is away or cannot be written to.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url, "jobs")

    def waiting(self, owner: str) -> int:
        """Jobs of an owner that have not ended."""
        query = sql.select(sql.func.count()).where(JOBS.c.owner == owner, _OPEN)
        with self._database.transaction() as connection:
            return int(connection.execute(query).scalar_one())

    def add(self, job: Job, most: int) -> None:
        """Take a job up.

        Raises
        ------
        RateLimitError
            When its owner has ``most`` already that have not ended.
        """
        if self.waiting(job.owner) >= most:
            raise too_many(most)
        with self._database.transaction() as connection:
            connection.execute(JOBS.insert(), _row(job))

    def find(self, identifier: str) -> Job | None:
        """A job by its id."""
        with self._database.transaction() as connection:
            found = connection.execute(sql.select(JOBS).where(JOBS.c.id == identifier)).first()
        return None if found is None else _job(found)

    def listed(self, owner: str | None) -> list[Job]:
        """The newest jobs of an owner, or of all for None."""
        query = sql.select(JOBS).order_by(JOBS.c.created.desc(), JOBS.c.id).limit(SHOWN)
        with self._database.transaction() as connection:
            chosen = query if owner is None else query.where(JOBS.c.owner == owner)
            return [_job(row) for row in connection.execute(chosen)]

    def claim(self, place: str, holder: str, now: float, seconds: float) -> Job | None:
        """The oldest job at a place that waits, or whose lease has run out; now the holder's."""
        free = sql.or_(
            JOBS.c.state == QUEUED, sql.and_(JOBS.c.state == RUNNING, JOBS.c.lease < now)
        )
        query = sql.select(JOBS).where(JOBS.c.place == place, free)
        with self._database.transaction() as connection:
            found = connection.execute(query.order_by(JOBS.c.created, JOBS.c.id).limit(1)).first()
            if found is None:
                return None
            job = _job(found)
            values = {
                "state": RUNNING,
                "fence": job.fence + 1,
                "holder": holder,
                "lease": now + seconds,
                "attempts": job.attempts + 1,
                "started": now if job.started is None else job.started,
                "read": 0,
                "rows": 0,
            }
            unchanged = (JOBS.c.id == job.id, JOBS.c.fence == job.fence, JOBS.c.state == job.state)
            if connection.execute(JOBS.update().where(*unchanged).values(values)).rowcount != 1:
                return None
        return self.find(job.id)

    def change(self, job: Job, **values: Any) -> bool:
        """Change a job that its holder still has; whether it has."""
        held = (JOBS.c.id == job.id, JOBS.c.fence == job.fence, JOBS.c.state == RUNNING)
        with self._database.transaction() as connection:
            done = connection.execute(JOBS.update().where(*held).values(_texts(values)))
            return done.rowcount == 1

    def free(self, place: str) -> int:
        """Let jobs wait again whose holder is known to be dead; how many."""
        held = (JOBS.c.place == place, JOBS.c.state == RUNNING)
        with self._database.transaction() as connection:
            return int(connection.execute(JOBS.update().where(*held).values(state=QUEUED)).rowcount)

    def cancel(self, identifier: str, now: float) -> bool:
        """End a job that has not ended; whether it was so."""
        values = {"state": CANCELLED, "ended": now, "fence": JOBS.c.fence + 1}
        with self._database.transaction() as connection:
            chosen = JOBS.update().where(JOBS.c.id == identifier, _OPEN)
            return connection.execute(chosen.values(values)).rowcount == 1

    def delete(self, identifier: str) -> bool:
        """Forget a job that has ended; whether it was so."""
        with self._database.transaction() as connection:
            chosen = JOBS.delete().where(JOBS.c.id == identifier, sql.not_(_OPEN))
            return connection.execute(chosen).rowcount == 1

    def ended_before(self, place: str, time: float) -> list[str]:
        """Jobs at a place that ended before a time."""
        query = sql.select(JOBS.c.id).where(JOBS.c.place == place, JOBS.c.ended < time)
        with self._database.transaction() as connection:
            return [row.id for row in connection.execute(query)]

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()


def too_many(most: int) -> RateLimitError:
    """The refusal of one job more than a caller may have."""
    return RateLimitError(
        f"{most} jobs of this caller have not ended, more are not taken",
        30.0,
        hint="wait for one to end, or delete one",
    )


def _texts(values: dict[str, Any]) -> dict[str, Any]:
    documents: dict[str, Any] = {
        name: json.dumps(values[name]) for name in ("model", "error") if name in values
    }
    return {**values, **documents}


def _row(job: Job) -> dict[str, Any]:
    row = {name: getattr(job, name) for name in JOBS.c.keys()}  # noqa: SIM118 not a dict
    return _texts({**row, "model": job.model or {}})


def _job(row: Any) -> Job:
    values = dict(row._mapping)  # noqa: SLF001 SQLAlchemy's public name
    documents: dict[str, Any] = {name: json.loads(values[name]) for name in ("model", "error")}
    return Job(**{**values, **documents})
