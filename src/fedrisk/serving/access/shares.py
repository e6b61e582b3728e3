"""Shares of every key's limits among the replicas of one database, which no request waits for.

Each replica writes one row: its share of each key, what was asked of it lately, and a beat that
counts on. Every few seconds it reads the rows of all in one transaction, which no two hold at once,
and takes what it wants and the others do not have. So the shares in the database never add up to
more than one. A share that shrinks is shrunk on the machine before it is in the database, one that
grows after: what is in use is never more than what is written.

Nobody's clock counts but one's own: a replica is gone when its beat stood still for `LEASE` seconds
during which the database answered whoever watches. While it does not answer, all keep what they
have.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fedrisk.errors import HomeError
from fedrisk.home import taken
from fedrisk.serving.access.rates import NOTHING, Rates

_log = logging.getLogger("fedrisk.serving")
#: Seconds between two beats, and of silence after which a replica is gone.
BEAT, LEASE = 2.0, 30.0
#: Part of every limit that is split evenly, so that no replica starts from nothing.
EVEN = 0.1
#: Growth by less than this part of what a replica has is not worth a change; what others need is.
CLOSE = 0.1
#: Share of a replica that starts while the database is away.
STARTING = 0.1
#: How fast demand is forgotten, a beat; below `LEAST` requests a second there is none.
FADING, LEAST = 0.7, 0.01
#: Keys, those asked most, that a replica has shares of their own for.
MOST_KEYS = 1000
#: So that rounding never makes a sum more than one.
_WHOLE = 1.0 - 1e-9


@dataclass(frozen=True, slots=True)
class Claim:
    """What a replica has, as its row tells it.

    Attributes
    ----------
    beat : int
    base : float
        Share of every key that has none of its own here.
    shares : mapping of int to float
        By place (`rates.place_of`).
    demand : mapping of int to float
        Requests a second.
    """

    beat: int = 0
    base: float = 0.0
    shares: Mapping[int, float] = field(default_factory=dict)
    demand: Mapping[int, float] = field(default_factory=dict)

    def share(self, place: int) -> float:
        """Its share of a key."""
        return self.shares.get(place, self.base)


class Transaction(Protocol):
    """The rows, while nobody else changes them."""

    claims: dict[str, Claim]

    def write(self, replica: str, claim: Claim) -> None: ...

    def forget(self, replica: str) -> None: ...


class ClaimStore(Protocol):
    """Where the rows are; raises HomeError when it is away."""

    def transaction(self) -> AbstractContextManager[Transaction]: ...


def settle(mine: Claim, others: list[Claim], demand: Mapping[int, float]) -> Claim:
    """What a replica takes now: never more than the others leave of any key.

    >>> one = settle(Claim(), [], {})
    >>> two = settle(Claim(), [one], {})
    >>> round(one.base, 6), round(two.base, 6), round(settle(one, [two], {}).base, 6)
    (1.0, 0.0, 0.5)
    """
    count = 1 + len(others)
    free = _WHOLE - sum(each.base for each in others)
    base = max(0.0, min(1.0 / count, free))
    named = set(demand).union(*(each.shares for each in others), mine.shares)
    shares = {}
    for place in named:
        free = max(0.0, _WHOLE - sum(each.share(place) for each in others))
        wanted = _wanted(place, demand, others, count)
        share = min(base if wanted is None else _near(mine.share(place), wanted), free)
        # Others may count on what a row says of a key by itself; the base says the same in less.
        if wanted is not None or share < base or any(place in each.shares for each in others):
            shares[place] = share
    return Claim(mine.beat + 1, base, shares, dict(demand))


def _wanted(
    place: int, demand: Mapping[int, float], others: list[Claim], count: int
) -> float | None:
    mine = demand.get(place, 0.0)
    total = mine + sum(each.demand.get(place, 0.0) for each in others)
    return EVEN / count + (1.0 - EVEN) * mine / total if total else None


def _near(now: float, wanted: float) -> float:
    return now if now < wanted < now * (1.0 + CLOSE) else wanted


class Shares:
    """One machine's part in it; one worker process at a time does this for all.

    Parameters
    ----------
    replica : str
        A name that no other has.
    rates : Rates
        What all workers go by.
    store : ClaimStore
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self, replica: str, rates: Rates, store: ClaimStore, clock: Callable[[], float]
    ) -> None:
        self.replica = replica
        self._rates = rates
        self._store = store
        self._clock = clock
        self._asked: Any = None
        self._looked = clock()
        self._demand: dict[int, float] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._told, self._reached = "", False
        if not rates.base:
            # Until the others are known, next to nothing.
            rates.set_shares(NOTHING, {})

    def beat(self) -> None:
        """Read the others, take what is due, and use it; without the database go on as before."""
        demand = self._measure()
        try:
            with self._store.transaction() as transaction:
                claim = self._settled(transaction, demand)
                alone = not transaction.claims
                self._shrink(claim)
                transaction.write(self.replica, claim)
            self._rates.set_shares(claim.base or NOTHING, claim.shares, alone=alone)
            self._told, self._reached = "", True
        except HomeError as error:
            self._away(error)

    def _settled(self, transaction: Transaction, demand: Mapping[int, float]) -> Claim:
        mine = transaction.claims.pop(self.replica, None)
        for name in self._gone(transaction.claims):
            transaction.forget(name)
            del transaction.claims[name]
        others = list(transaction.claims.values())
        return settle(mine or Claim(), others, demand)

    def _gone(self, claims: Mapping[str, Claim]) -> list[str]:
        """Replicas whose beat has stood still for too long."""
        now = self._clock()
        seen = {}
        for name, claim in claims.items():
            beat, since = self._seen.get(name, (-1, now))
            seen[name] = (claim.beat, now if beat != claim.beat else since)
        self._seen = seen
        return [name for name, (_, since) in seen.items() if now - since > LEASE]

    def _shrink(self, claim: Claim) -> None:
        """Go by a claim wherever it is less than what is in use."""
        used = self._rates.shared()
        places = set(used) | set(claim.shares)
        shares = {place: min(claim.share(place), self._rates.share(place)) for place in places}
        self._rates.set_shares(min(claim.base, self._rates.base) or NOTHING, shares)

    def _away(self, error: HomeError) -> None:
        # Silence that nobody could hear is none.
        self._seen = {}
        if not self._reached and self._rates.base <= NOTHING:
            self._rates.set_shares(STARTING, {})
        if error.message != self._told:
            _log.error("limits are not shared anew: %s", error.message)
        self._told = error.message

    def _measure(self) -> dict[int, float]:
        """Requests a second, by place, averaged over the last beats."""
        now, asked = self._clock(), self._rates.asked()
        seconds = max(now - self._looked, 1e-3)
        fresh = asked - (asked if self._asked is None else self._asked)
        self._looked, self._asked = now, asked
        places = {int(place) for place in fresh.nonzero()[0]} | set(self._demand)
        rates = {
            place: FADING * self._demand.get(place, 0.0)
            + (1.0 - FADING) * float(fresh[place]) / seconds
            for place in places
        }
        most = sorted(rates, key=rates.__getitem__, reverse=True)[:MOST_KEYS]
        self._demand = {place: rates[place] for place in most if rates[place] >= LEAST}
        return self._demand


async def sharing(lock: Path, make: Callable[[], Shares]) -> None:
    """Beat for ever, in a thread, once no other worker of this machine does."""
    with lock.open("w") as held:
        while not taken(held.fileno()):
            await asyncio.sleep(BEAT)
        shares = await asyncio.to_thread(make)
        while True:
            await asyncio.to_thread(shares.beat)
            await asyncio.sleep(BEAT)
