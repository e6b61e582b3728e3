"""What the rows of retrainings say, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from fedrisk.database.schema import TRANSITIONS
from fedrisk.database.store import time_text
from fedrisk.retraining.loop import Approval, Loop, Transition
from fedrisk.retraining.states import State


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
