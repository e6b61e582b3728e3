"""How much a key may ask: a rate with a burst, shared by every worker process of a machine.

The generic cell rate algorithm (ITU-T I.371, 1993): a key's next request is due ``1/rate`` after
the last one was; it may come up to ``(burst - 1)/rate`` early. That takes one number a key, kept in
a small file that all workers map into memory.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Self

from fedrisk.errors import RateLimitError
from fedrisk.serving.access.keys import Key

#: Keys that share a place share a limit; with 4,096 places that is rare, and errs on the safe side.
PLACES = 4096
_NUMBER = struct.Struct("<d")


class Rates:
    """Rates of all keys.

    Parameters
    ----------
    path : Path
        Made when it is not there; every worker opens the same.
    clock : callable
        Seconds, the same for every process: the machine's monotonic clock.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if os.fstat(self._file).st_size < PLACES * _NUMBER.size:
            os.ftruncate(self._file, PLACES * _NUMBER.size)
        self._memory = mmap.mmap(self._file, PLACES * _NUMBER.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._memory.close()
        os.close(self._file)

    def take(self, key: Key) -> None:
        """Count one request.

        Raises
        ------
        RateLimitError
            When the key has no request left now.
        """
        if not key.per_second:
            return
        place = _place(key.id) * _NUMBER.size
        interval = 1.0 / key.per_second
        fcntl.lockf(self._file, fcntl.LOCK_EX, _NUMBER.size, place)
        try:
            now = self._clock()
            (due,) = _NUMBER.unpack_from(self._memory, place)
            # After a restart of the machine its clock begins anew: what lies far ahead is stale.
            due = now if due < now or due > now + (key.burst + 1) * interval else due
            wait = due - (key.burst - 1) * interval - now
            if wait > 1e-9:
                raise RateLimitError(
                    f"API key {key.id} may make {key.per_second:g} requests a second", wait
                )
            _NUMBER.pack_into(self._memory, place, due + interval)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _NUMBER.size, place)


def _place(identifier: str) -> int:
    return int.from_bytes(blake2b(identifier.encode(), digest_size=4).digest(), "little") % PLACES
