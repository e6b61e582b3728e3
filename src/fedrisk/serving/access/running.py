"""How many requests of a key are being answered, counted over every worker process of a machine.

Each process counts in a column of its own of one memory-mapped file, and holds a lock on that
column for as long as it lives. A process that dies, whatever way, loses the lock with its life: its
column is emptied by the next process that starts, or that would otherwise refuse somebody.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Self

from fedrisk.errors import HomeError, RateLimitError
from fedrisk.serving.access.keys import Key

#: Keys that share a place share a limit: rare, and on the safe side. Processes of one machine.
PLACES, COLUMNS = 16_384, 64
#: Requests of one key in one process that can be counted.
MOST = 65_535
#: Seconds between two looks for processes that died, while somebody is refused.
LOOK_SECONDS = 0.1
_CELL = 2
#: Where the number of columns stands that were ever taken.
_TAKEN = PLACES * COLUMNS


class Running:
    """Requests that are being answered.

    Parameters
    ----------
    folder : Path
        Made when it is not there; every worker of the machine opens the same.
    clock : callable
        Monotonic seconds.

    Raises
    ------
    HomeError
        When as many processes as there are columns have one already.
    """

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._clock = clock
        self._looked = float("-inf")
        self._threads = threading.Lock()
        self._column, self._lock = self._take_column()
        self._file = os.open(folder / "counts", os.O_RDWR | os.O_CREAT, 0o600)
        size = (PLACES * COLUMNS + 1) * _CELL
        if os.fstat(self._file).st_size < size:
            os.ftruncate(self._file, size)
        self._memory = mmap.mmap(self._file, size)
        self._counts = memoryview(self._memory).cast("H")
        self._empty(self._column)
        # Columns are taken from the first on: a sum needs no more than those ever taken.
        self._counts[_TAKEN] = max(self._counts[_TAKEN], self._column + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the column back, and with it whatever is still counted there."""
        self._empty(self._column)
        self._counts.release()
        self._memory.close()
        os.close(self._file)
        os.close(self._lock)

    def enter(self, key: Key, limit: int) -> int:
        """Count one more request of a key; the place to give back by `leave`.

        Parameters
        ----------
        key : Key
        limit : int
            Most requests of it on this machine.

        Raises
        ------
        RateLimitError
            When as many as it may have are being answered.
        """
        place, most = _place(key.id), min(limit, MOST)
        # Counted first, then looked at: two processes that do so at once may both refuse, never
        # both admit. The mutex's release puts the one before the other in memory, too.
        self._add(place, 1)
        if self._count(place) > most and not (self._look() and self._count(place) <= most):
            self.leave(place)
            raise RateLimitError(f"API key {key.id} may have {limit} requests at the same time")
        return place

    def leave(self, place: int) -> None:
        """Count a request no longer."""
        self._add(place, -1)

    def _add(self, place: int, change: int) -> None:
        """Change a count. No other process writes this column while this one lives."""
        with self._threads:
            self._counts[self._column * PLACES + place] += change

    def _count(self, place: int) -> int:
        return sum(self._counts[place : self._counts[_TAKEN] * PLACES : PLACES])

    def _take_column(self) -> tuple[int, int]:
        for column in range(COLUMNS):
            lock = self._locked(column)
            if lock is not None:
                return column, lock
        raise HomeError(
            f"{self._folder}: {COLUMNS} processes serve this home already",
            hint="start fewer workers, or give them a home of their own",
        )

    def _look(self) -> bool:
        """Empty the columns of processes that died, at most once in a while; whether it looked."""
        if self._clock() - self._looked < LOOK_SECONDS:
            return False
        self._looked = self._clock()
        for column in range(COLUMNS):
            if column != self._column and (lock := self._locked(column)) is not None:
                self._empty(column)
                os.close(lock)
        return True

    def _locked(self, column: int) -> int | None:
        """The lock of a column that no living process has. It goes with the file that is open."""
        lock = os.open(self._folder / f"column-{column}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _empty(self, column: int) -> None:
        start = column * PLACES * _CELL
        self._memory[start : start + PLACES * _CELL] = bytes(PLACES * _CELL)


def _place(identifier: str) -> int:
    return int.from_bytes(blake2b(identifier.encode(), digest_size=4).digest(), "little") % PLACES
