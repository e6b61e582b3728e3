"""Tables of retrainings, and what their rows say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from fedrisk.profiles.database import time_text
from fedrisk.retraining.loop import Approval, Loop, Transition
from fedrisk.retraining.states import State

METADATA = sql.MetaData()
LOOPS = sql.Table(
    "retrainings",
    METADATA,
    sql.Column("id", sql.String(64), primary_key=True),
    sql.Column("scope", sql.String(200), nullable=False, index=True),
    # The scope while it is open and nothing afterwards: so one is open at most.
    sql.Column("open", sql.String(200), unique=True),
    sql.Column("trigger", sql.String(16), nullable=False),
    sql.Column("state", sql.String(32), nullable=False),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("created", sql.String(40), nullable=False),
    sql.Column("changed", sql.String(40), nullable=False),
    sql.Column("number", sql.Integer, nullable=False),
    sql.Column("chain", sql.String(64), nullable=False),
    sql.Column("plan", sql.Text, nullable=False),
    sql.Column("approval", sql.Text, nullable=False),
)
TRANSITIONS = sql.Table(
    "retraining_transitions",
    METADATA,
    sql.Column("loop", sql.String(64), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("before", sql.String(32), nullable=False),
    sql.Column("state", sql.String(32), nullable=False),
    sql.Column("at", sql.String(40), nullable=False),
    sql.Column("fence", sql.Integer, nullable=False),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("evidence", sql.Text, nullable=False),
    sql.Column("inputs", sql.Text, nullable=False),
    sql.Column("chain", sql.String(64), nullable=False),
)
LEASES = sql.Table(
    "retraining_leases",
    METADATA,
    sql.Column("scope", sql.String(200), primary_key=True),
    sql.Column("fence", sql.Integer, nullable=False),
    sql.Column("holder", sql.String(500), nullable=False),
    sql.Column("until", sql.Float, nullable=False),
)
#: What gates have looked at: it is not looked at again as if it were new.
GATES = sql.Table(
    "retraining_gates",
    METADATA,
    sql.Column("loop", sql.String(64), primary_key=True),
    sql.Column("scope", sql.String(200), nullable=False, index=True),
    sql.Column("at", sql.String(40), nullable=False),
    sql.Column("spent", sql.Text, nullable=False),
)


def loop_of(row: Any, transitions: list[Transition]) -> Loop:
    """A retraining from its row."""
    approval = json.loads(row.approval)
    return Loop(
        id=row.id,
        scope=row.scope,
        trigger=row.trigger,
        created=datetime.fromisoformat(row.created),
        plan=json.loads(row.plan),
        state=row.state,
        reason=row.reason,
        facts={each.state: each.evidence for each in transitions},
        number=row.number,
        chain=row.chain,
        approval=None if approval is None else Approval.from_document(approval),
        changed=datetime.fromisoformat(row.changed),
    )


def transitions_of(connection: sql.Connection, identifier: str) -> list[Transition]:
    """What happened to a retraining, in order."""
    query = sql.select(TRANSITIONS).where(TRANSITIONS.c.loop == identifier)
    found = connection.execute(query.order_by(TRANSITIONS.c.number))
    return [transition_of(row) for row in found]


def transition_of(row: Any) -> Transition:
    """A transition from its row."""
    before: State = row.before
    return Transition(
        number=row.number,
        before=before,
        state=row.state,
        at=datetime.fromisoformat(row.at),
        fence=row.fence,
        reason=row.reason,
        evidence=json.loads(row.evidence),
        inputs=json.loads(row.inputs),
        chain=row.chain,
    )


def transition_row(loop: str, step: Transition, chain: str) -> dict[str, Any]:
    """A transition's row."""
    return {
        "loop": loop,
        "number": step.number,
        "before": step.before,
        "state": step.state,
        "at": step.at.isoformat(),
        "fence": step.fence,
        "reason": step.reason,
        "evidence": json.dumps(dict(step.evidence)),
        "inputs": json.dumps(dict(step.inputs)),
        "chain": chain,
    }


def spent_row(loop: Loop, step: Transition, spent: Mapping[str, Any]) -> dict[str, Any]:
    """The row of what a gate spent."""
    text = json.dumps(dict(spent))
    return {"loop": loop.id, "scope": loop.scope, "at": time_text(step.at), "spent": text}
