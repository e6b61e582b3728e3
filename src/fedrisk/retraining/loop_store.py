"""Retrainings in a database: states change by compare-and-set, under a lease with a number.

A transition and the new state are one transaction, which counts only if the state is still the one
that the step began from and the lease still that of whoever took the step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql

from fedrisk.database.connection import INSERTS
from fedrisk.database.schema import GATES, LEASES, LOOPS, TRANSITIONS
from fedrisk.database.store import Database, time_text
from fedrisk.errors import FencedError, RetrainingError
from fedrisk.retraining.lease import Lease
from fedrisk.retraining.loop import Approval, Loop, Transition
from fedrisk.retraining.loop_tables import (
    loop_of,
    spent_row,
    transition_row,
    transitions_of,
)
from fedrisk.retraining.states import may_follow

#: Retrainings that a list shows, the newest.
SHOWN = 100


class LoopStore:
    """Retrainings in one database.

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
        self._database = Database(url, "retrainings")

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    def begin(self, loop: Loop, lease: Lease) -> None:
        """Keep a new retraining.

        Raises
        ------
        RetrainingError
            When one of the same model is open.
        FencedError
            When the lease is another's.
        """
        values = {
            "id": loop.id,
            "scope": loop.scope,
            "open": loop.scope,
            "trigger": loop.trigger,
            "state": loop.state,
            "reason": loop.reason,
            "created": time_text(loop.created),
            "changed": time_text(loop.since),
            "number": 0,
            "chain": "",
            "plan": json.dumps(dict(loop.plan)),
            "approval": "null",
        }
        # What comes back, not the count of rows: psycopg's cursor has none after an insert.
        insert = INSERTS[self._database.backend](LOOPS).on_conflict_do_nothing()
        insert = insert.values(values).returning(LOOPS.c.id)
        with self._database.transaction("written") as connection:
            _check_lease(connection, lease)
            if connection.execute(insert).first() is None:
                raise RetrainingError(
                    f"a retraining of {loop.scope!r} is open already",
                    hint="`fedrisk retrain status` shows it; `fedrisk retrain` goes on with it",
                )

    def current(self, scope: str) -> Loop | None:
        """The retraining of a model that is open."""
        return self._one(LOOPS.c.open == scope)

    def idle(self, scope: str, now: datetime) -> bool:
        """Whether a retraining of a model is open and nobody is at it."""
        held = sql.select(LEASES.c.scope).where(LEASES.c.scope == scope)
        query = sql.select(LOOPS.c.id).where(
            LOOPS.c.open == scope, ~held.where(LEASES.c.until > now.timestamp()).exists()
        )
        with self._database.transaction("read") as connection:
            return connection.execute(query).first() is not None

    def find(self, identifier: str) -> Loop | None:
        """A retraining by its id."""
        if not (identifier.isascii() and identifier.isprintable()):
            return None  # PostgreSQL takes no NUL and no half of a surrogate pair.
        return self._one(LOOPS.c.id == identifier)

    def listed(self, scope: str | None = None) -> list[Loop]:
        """The newest retrainings, of one model or of all."""
        query = sql.select(LOOPS.c.id).order_by(LOOPS.c.created.desc(), LOOPS.c.id).limit(SHOWN)
        with self._database.transaction("read") as connection:
            chosen = query if scope is None else query.where(LOOPS.c.scope == scope)
            found = [row.id for row in connection.execute(chosen)]
        loops = (self.find(each) for each in found)
        return [each for each in loops if each is not None]

    def began(self, scope: str) -> list[datetime]:
        """When the retrainings of a model were made that fitted something, newest first."""
        fitted = sql.select(TRANSITIONS.c.loop).where(TRANSITIONS.c.state == "frozen")
        query = sql.select(LOOPS.c.created).where(LOOPS.c.scope == scope, LOOPS.c.id.in_(fitted))
        with self._database.transaction("read") as connection:
            found = connection.execute(query.order_by(LOOPS.c.created.desc()))
            return [datetime.fromisoformat(row.created) for row in found]

    def transitions(self, identifier: str) -> list[Transition]:
        """What happened to a retraining, in order."""
        with self._database.transaction("read") as connection:
            return transitions_of(connection, identifier)

    def advance(
        self,
        loop: Loop,
        lease: Lease,
        step: Transition,
        spent: Mapping[str, Any] | None = None,
    ) -> Loop:
        """Take a step: the transition, the new state and what a gate spent, or none of them.

        Parameters
        ----------
        loop : Loop
            As it was when the step began.
        lease : Lease
        step : Transition
            Its chain is worked out here.
        spent : dict, optional
            What a gate looked at.

        Raises
        ------
        FencedError
            When another holder has the lease, or has taken a step in between.
        RetrainingError
            When such a step is none of this machine's.
        """
        if step.before != loop.state or not may_follow(step.state, loop.state):
            raise RetrainingError(f"{step.state!r} cannot follow {loop.state!r}")
        chain = step.chained(loop.chain)
        after = replace(
            loop,
            state=step.state,
            reason=step.reason,
            facts={**loop.facts, step.state: step.evidence},
            number=step.number,
            chain=chain,
            changed=step.at,
        )
        with self._database.transaction("written") as connection:
            _check_lease(connection, lease)
            unchanged = (
                LOOPS.c.id == loop.id,
                LOOPS.c.state == loop.state,
                LOOPS.c.number == loop.number,
            )
            values = {
                "state": after.state,
                "open": loop.scope if after.open else None,
                "reason": after.reason,
                "changed": time_text(step.at),
                "number": step.number,
                "chain": chain,
            }
            done = connection.execute(LOOPS.update().where(*unchanged).values(values))
            if done.rowcount != 1:
                raise FencedError(f"retraining {loop.id} was taken further by another process")
            connection.execute(TRANSITIONS.insert(), transition_row(loop.id, step, chain))
            if spent is not None:
                connection.execute(GATES.insert(), spent_row(loop, step, spent))
        return after

    def explain(self, loop: Loop, lease: Lease, reason: str) -> None:
        """Say why a retraining waits, without a step."""
        with self._database.transaction("written") as connection:
            _check_lease(connection, lease)
            chosen = LOOPS.update().where(LOOPS.c.id == loop.id, LOOPS.c.state == loop.state)
            connection.execute(chosen.values(reason=reason))

    def answer(self, identifier: str, approval: Approval) -> Loop:
        """Keep a person's answer; the first one counts.

        Raises
        ------
        RetrainingError
            When there is no such retraining, it waits for no answer, or it has one already.
        """
        unanswered = (
            LOOPS.c.id == identifier,
            LOOPS.c.approval == "null",
            LOOPS.c.state == "awaiting approval",
        )
        text = json.dumps(approval.document())
        if self.find(identifier) is None:
            raise RetrainingError(f"no retraining {identifier!r}", hint="`fedrisk retrain status`")
        with self._database.transaction("written") as connection:
            done = connection.execute(LOOPS.update().where(*unanswered).values(approval=text))
        loop = self.find(identifier)
        assert loop is not None  # noqa: S101 none is ever deleted
        if done.rowcount != 1:
            why = f"it is {loop.state}" if loop.approval is None else "it has an answer already"
            raise RetrainingError(f"retraining {identifier} takes no answer: {why}")
        return loop

    def spent(self, scope: str) -> list[dict[str, Any]]:
        """What the gates of a model have looked at, oldest first."""
        query = sql.select(GATES.c.spent).where(GATES.c.scope == scope)
        with self._database.transaction("read") as connection:
            found = connection.execute(query.order_by(GATES.c.at, GATES.c.loop))
            return [json.loads(row.spent) for row in found]

    def take(
        self, scope: str, holder: str, now: datetime, seconds: float, forfeit: str = ""
    ) -> Lease:
        """Take the lease of a model, under the next number.

        Parameters
        ----------
        scope, holder : str
        now : datetime
        seconds : float
            Until it ends by itself.
        forfeit : str
            How the names of holders begin that are known to be dead.

        Raises
        ------
        RetrainingError
            When a holder that may live has it.
        """
        at = now.timestamp()
        fresh = {"scope": scope, "fence": 0, "holder": "", "until": 0.0}
        make = INSERTS[self._database.backend](LEASES).on_conflict_do_nothing().values(fresh)
        with self._database.transaction("written") as connection:
            connection.execute(make)
            found = connection.execute(sql.select(LEASES).where(LEASES.c.scope == scope)).one()
            dead = bool(forfeit) and found.holder.startswith(forfeit)
            if found.until > at and not dead:
                until = datetime.fromtimestamp(found.until, UTC).isoformat(timespec="seconds")
                raise RetrainingError(
                    f"{found.holder} retrains {scope!r}, and may until {until}",
                    hint="wait for it to end",
                )
            values = {"fence": found.fence + 1, "holder": holder, "until": at + seconds}
            same = (LEASES.c.scope == scope, LEASES.c.fence == found.fence)
            if connection.execute(LEASES.update().where(*same).values(values)).rowcount != 1:
                raise RetrainingError(f"another process takes up {scope!r} in this moment")
        return Lease(scope, holder, found.fence + 1)

    def renew(self, lease: Lease, now: datetime, seconds: float) -> None:
        """Have a lease for longer.

        Raises
        ------
        FencedError
            When it is another's.
        """
        values = {"until": now.timestamp() + seconds}
        with self._database.transaction("written") as connection:
            _check_lease(connection, lease)
            connection.execute(LEASES.update().where(*_same(lease)).values(values))

    def let_go(self, lease: Lease) -> None:
        """Let others have the lease; nothing where they have it already."""
        with self._database.transaction("written") as connection:
            connection.execute(LEASES.update().where(*_same(lease)).values(until=0.0, holder=""))

    def _one(self, condition: Any) -> Loop | None:
        with self._database.transaction("read") as connection:
            found = connection.execute(sql.select(LOOPS).where(condition)).first()
            if found is None:
                return None
            return loop_of(found, transitions_of(connection, found.id))


def check_chain(transitions: list[Transition]) -> None:
    """Raise RetrainingError where a past step is not as it was written down."""
    past = ""
    for number, each in enumerate(transitions, 1):
        if each.number != number or each.chain != each.chained(past):
            raise RetrainingError(f"transition {number} is not as it was written down")
        past = each.chain


def _same(lease: Lease) -> tuple[Any, ...]:
    return (LEASES.c.scope == lease.scope, LEASES.c.fence == lease.fence)


def _check_lease(connection: sql.Connection, lease: Lease) -> None:
    """Hold the lease's row until the transaction ends, or raise FencedError."""
    # Written, not read: a write is what keeps other writers out until the end, in SQLite too.
    touch = LEASES.update().where(*_same(lease)).values(fence=lease.fence)
    if connection.execute(touch).rowcount != 1:
        raise FencedError(
            f"another process has taken up the retraining of {lease.scope!r}",
            hint="`fedrisk retrain status` shows who",
        )
