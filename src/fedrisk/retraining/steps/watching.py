"""From ``promoted``: the new champion is watched, in service and by labels as they mature."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import floor, inf

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


def figures_fault(found: Service, before: Mapping[str, object] | None, plan: ChangePlan) -> str:
    """What errors and times since the promotion say against a champion; empty where nothing.

    Parameters
    ----------
    found : Service
        Now.
    before : dict or None
        `counters` at the promotion; None counts from the server's start.
    plan : ChangePlan
    """
    start = _Counters(before, found)
    requests, errors = found.requests - start.requests, found.errors - start.errors
    seen = requests + errors
    if seen < plan.service.least_requests:
        return ""
    if errors > plan.service.most_errors * seen:
        return f"{errors:,.0f} of {seen:,.0f} requests ended in a fault of the server's"
    latency = {le: count - start.latency.get(le, 0.0) for le, count in found.latency.items()}
    if not latency.get(inf):
        return ""
    p99 = quantile(latency, 0.99)
    if p99 > plan.service.most_seconds:
        return f"its 99th percentile is {p99:.3f} s, above {plan.service.most_seconds:g} s"
    return ""


def counters(found: Service) -> dict[str, object]:
    """A server's counters, as JSON values."""
    return {
        "requests": found.requests,
        "errors": found.errors,
        "latency": [[None if le == inf else le, n] for le, n in sorted(found.latency.items())],
    }


class _Counters:
    """Counters at the promotion; zero where the server was started again since."""

    def __init__(self, before: Mapping[str, object] | None, found: Service) -> None:
        self.requests = self.errors = 0.0
        self.latency: dict[float, float] = {}
        if before is None:
            return
        requests, errors = float(str(before["requests"])), float(str(before["errors"]))
        if requests > found.requests or errors > found.errors:
            return
        self.requests, self.errors = requests, errors
        pairs = before["latency"]
        if isinstance(pairs, list):
            self.latency = {inf if le is None else le: count for le, count in pairs}


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
