"""How much a key may ask: a rate with a burst, shared by every worker process of a machine.

The generic cell rate algorithm (ITU-T I.371, 1993): a key's next request is due ``1/rate`` after
the last one was; it may come up to ``(burst - 1)/rate`` early. That takes one number a key, kept in
a small file that all workers map into memory.

Where replicas share limits, the file also has the machine's share of every key's (`shares`): rate
and burst are multiplied by it, so that a request costs no look at anything but this file.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from fedrisk.errors import RateLimitError
from fedrisk.serving.access.keys import Key

#: Keys that share a place share a limit; with so many places that is rare, and on the safe side.
PLACES = 65_536
#: Longest Retry-After, in seconds, where shares may have changed by then.
LONGEST = 60.0
#: What stands for no share at all.
NOTHING = 1e-9
#: The machine's share of keys that have none of their own, 0 where nothing is shared; since when.
_HEAD = struct.Struct("<dd")
#: Of a place: when its next request is due, its share or 0, since when, requests that were asked.
_PLACE = struct.Struct("<dddQ")
_START = 64
_SIZE = _START + PLACES * _PLACE.size


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
        if os.fstat(self._file).st_size < _SIZE:
            os.ftruncate(self._file, _SIZE)
        self._memory = mmap.mmap(self._file, _SIZE)

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
        place = _START + place_of(key.id) * _PLACE.size
        fcntl.lockf(self._file, fcntl.LOCK_EX, _PLACE.size, place)
        try:
            due, share, since, asked = _PLACE.unpack_from(self._memory, place)
            rate, burst = key.per_second, float(key.burst)
            base, base_since = _HEAD.unpack_from(self._memory, 0)
            grown = 0.0
            if base:
                part, grown = (share, since) if share else (base, base_since)
                rate, burst = rate * part, max(1.0, burst * part)
            now, interval = self._clock(), 1.0 / rate
            # After a restart of the machine its clock begins anew: what lies far ahead is stale.
            due = now if due < now or due > now + (burst + 1) * interval else due
            if base and grown <= now:
                # A share that grew brings one request at once and the rest by its rate: what
                # another replica gave up may have been used there already.
                due = max(due, grown + (burst - 1) * interval)
            wait = due - (burst - 1) * interval - now
            due += 0.0 if wait > 1e-9 else interval
            _PLACE.pack_into(self._memory, place, due, share, since, asked + 1)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _PLACE.size, place)
        if wait > 1e-9:
            raise RateLimitError(
                f"API key {key.id} may make {key.per_second:g} requests a second",
                min(wait, LONGEST) if base else wait,
            )

    def concurrent(self, key: Key) -> int:
        """Requests of a key that this machine may answer at the same time: at least one."""
        (base, _) = _HEAD.unpack_from(self._memory, 0)
        if not base:
            return key.concurrent
        return max(1, int(key.concurrent * self.share(place_of(key.id)) + 1e-6))

    def share(self, place: int) -> float:
        """The machine's share of the limits of a place; 1 where nothing is shared."""
        (base, _) = _HEAD.unpack_from(self._memory, 0)
        share = _PLACE.unpack_from(self._memory, _START + place * _PLACE.size)[1] if base else 1.0
        return float(share or base)

    @property
    def base(self) -> float:
        """The machine's share of keys that have none of their own; 0 where nothing is shared."""
        return float(_HEAD.unpack_from(self._memory, 0)[0])

    def shared(self) -> dict[int, float]:
        """The machine's own shares, by place."""
        table = self._table()["share"]
        return {int(place): float(table[place]) for place in table.nonzero()[0]}

    def set_shares(self, base: float, shares: Mapping[int, float], *, alone: bool = False) -> None:
        """Set what the machine may use, for all its workers at once.

        Parameters
        ----------
        base : float
            Of keys that have no share of their own; 0 where nothing is shared with other machines.
        shares : mapping of int to float
            By place; every other place goes by ``base``.
        alone : bool
            Whether no other replica can have used what this one gains: then bursts are whole.
        """
        if not base:
            _HEAD.pack_into(self._memory, 0, 0.0, 0.0)
            return
        now = self._clock()
        before, since = _HEAD.unpack_from(self._memory, 0)
        gained = 0.0 if alone else now
        for place in set(self.shared()) | set(shares):
            self._set_share(place, max(shares.get(place, base), NOTHING), before, gained)
        grew = base > before or since > now
        _HEAD.pack_into(self._memory, 0, max(base, NOTHING), gained if grew else since)

    def _set_share(self, number: int, share: float, base: float, gained: float) -> None:
        place = _START + number * _PLACE.size
        fcntl.lockf(self._file, fcntl.LOCK_EX, _PLACE.size, place)
        try:
            due, before, since, asked = _PLACE.unpack_from(self._memory, place)
            # Before it had one of its own, what counted was since when the base was what it is.
            since = since if before else _HEAD.unpack_from(self._memory, 0)[1]
            since = gained if share > (before or base) else since
            _PLACE.pack_into(self._memory, place, due, share, since, asked)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _PLACE.size, place)

    def asked(self) -> Any:
        """Requests that were asked so far, by place, refused ones too: an array."""
        return self._table()["asked"]

    def _table(self) -> Any:
        import numpy as np

        kinds = [("due", "<f8"), ("share", "<f8"), ("since", "<f8"), ("asked", "<u8")]
        # A copy: the file cannot be closed while somebody looks into its memory.
        return np.frombuffer(self._memory, kinds, PLACES, _START).copy()


def place_of(identifier: str) -> int:
    """A key's place, the same on every machine."""
    return int.from_bytes(blake2b(identifier.encode(), digest_size=4).digest(), "little") % PLACES
