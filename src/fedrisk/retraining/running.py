"""Begin a retraining, or find the one that is open."""

from __future__ import annotations

import secrets
from datetime import datetime

from fedrisk.retraining.decision import Trigger
from fedrisk.retraining.lease import Lease
from fedrisk.retraining.loop import Loop
from fedrisk.retraining.loop_store import LoopStore
from fedrisk.retraining.plan import ChangePlan


def begin(
    store: LoopStore, lease: Lease, trigger: Trigger, plan: ChangePlan, now: datetime
) -> Loop:
    """The open retraining of a model, whatever began it; else a new one.

    Parameters
    ----------
    store : LoopStore
    lease : Lease
    trigger : {"drift", "scheduled", "manual"}
    plan : ChangePlan
        Of a new one; an open one keeps the plan that it began with.
    now : datetime
        With a time zone.
    """
    found = store.current(lease.scope)
    if found is not None:
        return found
    loop = new_loop(store, lease.scope, trigger, plan, now)
    store.begin(loop, lease)
    return loop


def new_loop(
    store: LoopStore, scope: str, trigger: Trigger, plan: ChangePlan, now: datetime
) -> Loop:
    """A retraining that nobody has kept yet."""
    # Those that fitted something: they are what cooldown and budget count.
    began = [each.isoformat() for each in store.began(scope)]
    return Loop(
        id=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
        scope=scope,
        trigger=trigger,
        created=now,
        plan={"plan": plan.document(), "hash": plan.hash, "began": began},
    )
