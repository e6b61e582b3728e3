"""What endpoints and runner of jobs share: limits, files, the database, the time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from starlette.exceptions import HTTPException

from fedrisk.errors import HomeError
from fedrisk.serving.champion import Clock
from fedrisk.serving.jobs.folder import JobFiles

if TYPE_CHECKING:
    from fedrisk.serving.jobs.store import JobStore

_log = logging.getLogger("fedrisk.serving")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class JobRules:
    """What jobs may bring and keep.

    Attributes
    ----------
    waiting : int
        Jobs of one caller that have not ended.
    most_bytes, most_rows : int
        Of one body, unpacked.
    hours : float
        For which a job that has ended is kept, with its result.
    disk_bytes : int
        Bodies and results together.
    silence : float
        Seconds in which a caller must send or take something.
    lease : float
        Seconds after which a holder that says nothing is believed dead.
    beat : float
        Seconds between two signs of life.
    attempts : int
        After so many starts without an end, a job has failed.
    """

    waiting: int = 20
    most_bytes: int = 4 << 30
    most_rows: int = 50_000_000
    hours: float = 24.0
    disk_bytes: int = 20 << 30
    silence: float = 60.0
    lease: float = 30.0
    beat: float = 2.0
    attempts: int = 3


@dataclass
class JobRoom:
    """The jobs of one disk.

    Parameters
    ----------
    root : Path
        Folder of their files.
    url : str
        Database, as SQLAlchemy reads it; its library is loaded with the first job.
    clock : callable
        The time, with its zone.
    replica : str
        Who has this disk, for people.
    holder : str
        Who runs jobs here, for people; unlike any other process.
    rules : JobRules
    """

    root: Path
    url: str
    clock: Clock
    replica: str
    holder: str
    rules: JobRules = JobRules()
    #: Set when a job has come.
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _store: JobStore | None = None

    @property
    def files(self) -> JobFiles:
        """The files of its jobs."""
        return JobFiles(self.root)

    def now(self) -> float:
        """Seconds since 1970."""
        return self.clock().timestamp()

    @property
    def store(self) -> JobStore:
        """The database of its jobs."""
        if self._store is None:
            from fedrisk.serving.jobs.store import JobStore

            self._store = JobStore(self.url)
        return self._store

    async def ask(self, question: Callable[[JobStore], _T]) -> _T:
        """Ask the database, in a thread.

        Raises
        ------
        HomeError
            When it is away.
        """
        return await asyncio.to_thread(lambda: question(self.store))

    async def ask_for_caller(self, question: Callable[[JobStore], _T]) -> _T:
        """As `ask`, on behalf of a request.

        Raises
        ------
        HTTPException
            503 when the database is away; why is logged.
        """
        try:
            return await self.ask(question)
        except HomeError as error:
            _log.error("%s", error.message)
            raise HTTPException(
                503, "the database of jobs does not answer", {"retry-after": "5"}
            ) from None

    def close(self) -> None:
        """Give the database's connections back."""
        if self._store is not None:
            self._store.close()
