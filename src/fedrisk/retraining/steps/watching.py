"""From ``promoted``: the new champion is watched, in service and by labels as they mature."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from math import floor, inf
from typing import Any

from fedrisk.models.comparison import Comparison
from fedrisk.retraining.plan import ChangePlan
from fedrisk.retraining.ports import Service
from fedrisk.retraining.steps.reevaluating import (
    compare_on_matured,
    data_time,
    harm,
    matured_span,
    maturity,
)
from fedrisk.retraining.steps.step import Goes, Scene, Waits
from fedrisk.serving.trial_report import quantile


def watch_champion(scene: Scene) -> Goes | Waits:
    """Return to the champion before as soon as the new one fails, and end when its time is over."""
    standing = scene.world.registry.standing()
    mine = scene.require("promoted", "version")
    if standing.champion != mine:
        reason = f"the champion is version {standing.champion} now: somebody moved it"
        return Goes("watched", reason)
    fault = service_fault(scene)
    if fault:
        return _return(scene, f"in service, version {mine} fails: {fault}", {"service": fault})
    worse = _matured_harm(scene)
    if worse is not None:
        return worse
    ends_at = _end(scene)
    if scene.now >= ends_at:
        return Goes("watched", f"nothing was found against version {mine}")
    again = scene.now + timedelta(seconds=scene.plan.watch.poll_seconds)
    reason = f"version {mine} is watched until {ends_at:%Y-%m-%d %H:%M}"
    return Waits(ends_at, min(again, ends_at), reason)


def _return(scene: Scene, reason: str, evidence: Mapping[str, object]) -> Goes:
    as_of = data_time(scene).isoformat(timespec="seconds")
    return Goes("returning", reason, {**evidence, "as_of": as_of})


def _end(scene: Scene) -> datetime:
    """When the watch is over: labels of so many days have matured."""
    days = timedelta(days=scene.plan.watch.days)
    if scene.as_of is None:
        return scene.loop.since + maturity(scene) + days
    return scene.now + days - matured_span(scene)


def service_fault(scene: Scene) -> str:
    """What the new champion does wrong in service; empty where nothing is seen."""
    server = scene.world.server
    if server is None:
        return ""
    found, mine = server.look(), scene.require("promoted", "version")
    if found.version != mine or found.refused:
        waited = (scene.now - scene.loop.since).total_seconds()
        if waited < scene.plan.service.take_up_seconds:
            return ""
        serves = "no model" if found.version is None else f"version {found.version}"
        why = f": {found.refused}" if found.refused else ""
        return f"the server serves {serves} {waited:.0f} s after the promotion{why}"
    return figures_fault(found, scene.loop.fact("promoted", "service"), scene.plan)


def figures_fault(found: Service, before: Mapping[str, Any] | None, plan: ChangePlan) -> str:
    """What errors and times since the promotion say against a champion; empty where nothing.

    Parameters
    ----------
    found : Service
        Now.
    before : dict or None
        `counters` at the promotion; None counts from the server's start.
    plan : ChangePlan
    """
    requests, errors, latency = since(before, found)
    seen = requests + errors
    if seen < plan.service.least_requests:
        return ""
    if errors > plan.service.most_errors * seen:
        return f"{errors:,.0f} of {seen:,.0f} requests ended in a fault of the server's"
    if not latency.get(inf):
        return ""
    p99 = quantile(latency, 0.99)
    if p99 > plan.service.most_seconds:
        return f"its 99th percentile is {p99:.3f} s, above {plan.service.most_seconds:g} s"
    return ""


def counters(found: Service) -> dict[str, Any]:
    """A service's counters, as JSON values; those of its servers below ``replicas``."""
    told: dict[str, Any] = {
        "requests": found.requests,
        "errors": found.errors,
        "latency": [[None if le == inf else le, n] for le, n in sorted(found.latency.items())],
    }
    if found.replicas:
        told["replicas"] = {at: counters(each) for at, each in found.replicas.items()}
    return told


def since(
    before: Mapping[str, Any] | None, found: Service
) -> tuple[float, float, dict[float, float]]:
    """Requests, errors and cumulative counts by seconds since an earlier time.

    A server that was started again since, or that was not there, counts from nothing; one that is
    gone counts no more.

    Parameters
    ----------
    before : dict or None
        `counters` then; None counts from the servers' starts.
    found : Service
    """
    if found.replicas and (before is None or "replicas" in before):
        known = {} if before is None else before["replicas"]
        parts = [since(known.get(at), each) for at, each in found.replicas.items()]
        latency: defaultdict[float, float] = defaultdict(float)
        for _, _, each in parts:
            for le, count in each.items():
                latency[le] += count
        return sum(p[0] for p in parts), sum(p[1] for p in parts), dict(latency)
    if before is None:
        return found.requests, found.errors, dict(found.latency)
    requests, errors = found.requests - before["requests"], found.errors - before["errors"]
    if requests < 0 or errors < 0:
        return found.requests, found.errors, dict(found.latency)
    then = {inf if le is None else le: count for le, count in before["latency"]}
    return requests, errors, {le: n - then.get(le, 0.0) for le, n in found.latency.items()}


def _matured_harm(scene: Scene) -> Goes | None:
    """What labels say that matured since the data were frozen, at each look that is due."""
    rules = scene.plan.watch
    due = floor(matured_span(scene) / timedelta(days=rules.compare_days))
    if due < 1:
        return None
    since = datetime.fromisoformat(scene.require("frozen", "as_of"))
    as_of = since + maturity(scene) + due * timedelta(days=rules.compare_days)
    before = scene.world.registry.stored(scene.require("promoted", "instead_of"))
    found = compare_on_matured(scene, f"watch-{due}", before, since.isoformat(), as_of)
    comparison = Comparison.from_document(found.comparison)
    why = harm(comparison, rules)
    if not why:
        return None
    return _return(scene, why, {"harm": why, "comparison": found.comparison})
