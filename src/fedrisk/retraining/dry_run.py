"""What a retraining would do: it judges and decides, fits nothing and keeps nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fedrisk.retraining.decision import Trigger
from fedrisk.retraining.loop_store import LoopStore
from fedrisk.retraining.plan import ChangePlan
from fedrisk.retraining.ports import World
from fedrisk.retraining.running import new_loop
from fedrisk.retraining.steps.opening import open_retraining
from fedrisk.retraining.steps.step import Scene


def dry_run(
    store: LoopStore,
    world: World,
    scope: str,
    trigger: Trigger,
    plan: ChangePlan,
    signed: bool,
    as_of: datetime | None,
) -> dict[str, Any]:
    """Take the first step without writing it down, and say what would follow."""
    found = store.current(scope)
    if found is not None:
        reason = f"it would go on with retraining {found.id}, which is {found.state}"
        return {"dry_run": True, "state": found.state, "reason": reason, "id": found.id}
    loop = new_loop(store, scope, trigger, plan, world.clock.now())
    scene = Scene(loop, plan, signed, world, 0, as_of, tuple(store.spent(scope)))
    taken = open_retraining(scene)
    evidence = taken.evidence
    return {
        "dry_run": True,
        "state": evidence.get("end", taken.state),
        "reason": taken.reason,
        "champion": evidence.get("champion"),
        "decision": evidence.get("decision"),
        "verdict": evidence.get("verdict"),
        "then": [] if taken.state != "frozen" else _following(scene, evidence),
    }


def _following(scene: Scene, evidence: Any) -> list[str]:
    """The steps that would follow, in words."""
    plan, names = scene.plan, ", ".join(each["name"] for each in evidence["candidates"])
    served = scene.world.server is not None
    trial = f"{plan.shadow.seconds:g} s in the shadow" if served else "no shadow: no server"
    canary = f"canary of {plan.service.share:.0%}" if served else "no canary: no server"
    covered = plan.approval == "plan" and scene.signed
    return [
        f"fit {names} on rows from {evidence['since'] or 'the first'} until {evidence['split']}",
        f"gate on test people's rows until {evidence['until']}",
        trial,
        "no approval: the signed plan covers it" if covered else "a person's approval",
        canary,
        f"promotion, and a watch of {plan.watch.days:g} days of matured labels",
    ]
