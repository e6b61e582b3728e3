"""Who may move a retraining: one holder at a time, under a number that only grows.

A lease is a row in the database with an end. Whoever takes it raises its number, the *fencing
token*; whatever an earlier holder still writes, to the database or to the registry, carries a lower
number and is refused (Kleppmann, Designing Data-Intensive Applications, 2017, chapter 8). On one
machine a lock file tells at once that a holder died, so that nobody waits for its lease to end.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fedrisk.errors import DatabaseAwayError, FedriskError, FencedError, RetrainingError
from fedrisk.home import locked

if TYPE_CHECKING:
    from fedrisk.retraining.loop_store import LoopStore

#: Seconds for which a lease is given; it is renewed three times as often.
LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class Lease:
    """The right to move the retrainings of one model.

    Attributes
    ----------
    scope : str
        The registered model.
    holder : str
        Who has it: machine, place of the home, process.
    fence : int
        The token.
    """

    scope: str
    holder: str
    fence: int


def machine_of(home: Path) -> str:
    """How holders that share a home's lock file begin."""
    return f"{socket.gethostname()}:{home.resolve()}:"


@contextmanager
def held(
    store: LoopStore, scope: str, home: Path, clock: Callable[[], datetime]
) -> Iterator[Lease]:
    """Hold the lease of a model while the body runs; it is renewed beside it.

    Parameters
    ----------
    store : LoopStore
    scope : str
    home : Path
        Its lock file tells whether a holder of this machine lives.
    clock : callable

    Raises
    ------
    RetrainingError
        When somebody else holds it.
    """
    machine = machine_of(home)
    with locked(home / "retraining.lock", RetrainingError, patience=0.0):
        holder = f"{machine}{os.getpid()}"
        # The lock is ours, so whoever of this machine is named in the lease is dead.
        lease = store.take(scope, holder, clock(), LEASE_SECONDS, forfeit=machine)
        renewal = Renewal(store, lease, clock)
        renewal.start()
        try:
            yield lease
        finally:
            renewal.stop()
            # Where the database is away it ends by itself, and what the body did or raised counts.
            with suppress(DatabaseAwayError):
                store.let_go(lease)


class Renewal:
    """Renews a lease beside the work that it covers.

    A database that is away for a moment is asked again; once the lease is another's, it stops, and
    the token makes sure that nothing more is written under it.
    """

    def __init__(
        self,
        store: LoopStore,
        lease: Lease,
        clock: Callable[[], datetime],
        seconds: float = LEASE_SECONDS,
    ) -> None:
        self._store, self._lease, self._clock, self._seconds = store, lease, clock, seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for that."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds / 3):
            try:
                self._store.renew(self._lease, self._clock(), self._seconds)
            except FencedError:
                return
            except FedriskError:
                continue
