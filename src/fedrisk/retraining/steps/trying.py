"""From ``shadow``, ``awaiting approval`` and ``canary``: the challenger in service.

Both trials judge service, not outcomes: does it answer, how fast, how far from the champion.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from fedrisk.registry.trial_control import TrialControl
from fedrisk.retraining.plan import ChangePlan, TrialRules
from fedrisk.retraining.steps.registering import because
from fedrisk.retraining.steps.step import Goes, Scene, Waits, champion_moved, ends
from fedrisk.serving.trial_report import TrialReport


def judge_shadow(scene: Scene) -> Goes | Waits:
    """Wait for the shadow's rows, judge them, and ask a person where one is wanted."""
    moved = champion_moved(scene)
    if moved is not None:
        return moved
    found = _report(scene, scene.plan.shadow)
    if isinstance(found, Goes | Waits):
        return found
    evidence = {} if found is None else {"trial": found.document()}
    fault = "" if found is None else shadow_fault(found, scene.plan)
    if fault:
        return ends("refused", f"in the shadow, {fault}", evidence)
    if scene.plan.approval == "plan" and scene.signed:
        return _begin_canary(scene, "the signed plan covers it", evidence)
    command = f"`fedrisk retrain approve {scene.loop.id}`"
    return Goes("awaiting approval", f"a person has to agree: {command}", evidence)


def await_approval(scene: Scene) -> Goes | Waits:
    """Wait for a person's answer."""
    moved = champion_moved(scene)
    if moved is not None:
        return moved
    approval = scene.loop.approval
    last = scene.loop.since + timedelta(days=scene.plan.approval_days)
    if approval is None:
        if scene.now >= last:
            days = scene.plan.approval_days
            return ends("abandoned", f"nobody agreed within {days:g} days")
        again = scene.now + timedelta(seconds=scene.plan.poll_seconds)
        return Waits(last, again, f"`fedrisk retrain approve {scene.loop.id}` lets it go on")
    said = f"{approval.by}: {approval.reason}" if approval.reason else approval.by
    evidence = {"approval": approval.document()}
    if not approval.approved:
        return ends("refused", f"rejected by {said}", evidence)
    return _begin_canary(scene, f"approved by {said}", evidence)


def _begin_canary(scene: Scene, reason: str, evidence: Mapping[str, object]) -> Goes:
    """Let the challenger answer a share of the requests."""
    if scene.world.server is not None:
        control = TrialControl(scene.plan.service.share, shadow=True)
        version = scene.require("registered", "version")
        scene.world.registry.challenge(version, control, because(scene), scene.fence)
    return Goes("canary", reason, evidence)


def judge_canary(scene: Scene) -> Goes | Waits:
    """Wait for the canary's requests, and judge them."""
    moved = champion_moved(scene)
    if moved is not None:
        return moved
    found = _report(scene, scene.plan.canary)
    if isinstance(found, Goes | Waits):
        return found
    if found is None:
        return Goes("cleared", "no server is named: it was not tried in service")
    evidence = {"trial": found.document()}
    fault = canary_fault(found, scene.plan)
    if fault:
        return ends("refused", f"as a canary, {fault}", evidence)
    requests = found.challenger.requests
    return Goes("cleared", f"it answered {requests:,} requests as the champion does", evidence)


def _report(scene: Scene, rules: TrialRules) -> TrialReport | Goes | Waits | None:
    """The trial's figures once there are enough; None where there is no server."""
    server = scene.world.server
    if server is None:
        return None
    state = scene.loop.state
    found = server.trial()
    again = scene.now + timedelta(seconds=scene.plan.poll_seconds)
    least = scene.loop.since + timedelta(seconds=rules.seconds)
    last = scene.loop.since + timedelta(seconds=rules.most_seconds)
    mine = found is not None and found.challenger.version == scene.require("registered", "version")
    seen = 0
    if found is not None and mine:
        seen = found.shadowed.rows if state == "shadow" else found.challenger.requests
        if early_fault(found, scene.plan):
            return found  # nobody waits for more of it
    if found is not None and seen >= rules.least and scene.now >= least:
        return found
    if scene.now >= max(last, least):
        what = f"{seen:,} of {rules.least:,} came" if mine else "the server never tried it"
        return ends("abandoned", f"{state}: {what} within {rules.most_seconds:g} s")
    return Waits(max(least, again), again, f"{state}: {seen:,} of {rules.least:,} so far")


def early_fault(report: TrialReport, plan: ChangePlan) -> str:
    """What ends a trial at once, whatever its time; empty where nothing does."""
    seen = report.challenger.requests + report.shadowed.rows
    wrong = report.challenger.errors + report.shadowed.errors
    allowed = max(plan.service.most_errors * seen, plan.service.most_errors * plan.shadow.least)
    return f"{wrong:,} of {seen + wrong:,} could not be answered" if wrong > allowed else ""


def shadow_fault(report: TrialReport, plan: ChangePlan) -> str:
    """Why a challenger may answer nobody; empty where it may."""
    early = early_fault(report, plan)
    if early:
        return early
    mean = report.compared.mean
    if mean is not None and mean > plan.service.most_difference:
        bound = plan.service.most_difference
        return f"its risks are {mean:.3f} from the champion's on average, above {bound:g}"
    return ""


def canary_fault(report: TrialReport, plan: ChangePlan) -> str:
    """Why a challenger may not become champion; empty where it may."""
    fault = shadow_fault(report, plan)
    mine, other = report.challenger.seconds, report.champion.seconds
    if fault or mine is None or other is None:
        return fault
    bound = max(plan.service.slower * other.p99, other.p99 + plan.service.slack_seconds)
    if mine.p99 > bound:
        return f"its 99th percentile of {mine.p99:.4f} s is above {bound:.4f} s"
    return ""
