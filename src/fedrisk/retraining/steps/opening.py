"""From ``opened``: is a retraining called for, and on which rows? They are frozen by time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from fedrisk.retraining.decision import Decision, Situation, decide
from fedrisk.retraining.gate_rows import GateRows, Span, gate_rows
from fedrisk.retraining.hold_gate import spent_rows
from fedrisk.retraining.loop import digest
from fedrisk.retraining.plan import RECALIBRATION
from fedrisk.retraining.ports import StoredVersion
from fedrisk.retraining.steps.step import Goes, Scene, ends


def open_retraining(scene: Scene) -> Goes:
    """Judge the current rows, decide, and freeze what is fitted on and what is judged by."""
    registry = scene.world.registry
    current = registry.standing().champion
    if current is None:
        return ends("abandoned", "there is no champion to improve on: `fedrisk train` makes one")
    champion = registry.stored(current)
    as_of = scene.as_of or scene.now
    assessed = scene.world.watch.assess(champion, as_of)
    began = tuple(datetime.fromisoformat(each) for each in scene.loop.plan.get("began", ()))
    situation = Situation(
        scene.now, scene.loop.trigger, began, rows=assessed.rows, events=assessed.events
    )
    decision = decide(assessed.verdict, situation, scene.plan.decision)
    evidence = {"verdict": assessed.verdict.document(), "decision": decision.document()}
    if decision.action not in ("retrain", "recalibrate"):
        reason = f"no retraining: {decision.reason}"
        return replace(ends("done", reason, evidence), then=assessed.keep)
    if decision.needs_approval:
        reason = f"a person has to begin it: {decision.reason}; `fedrisk retrain --trigger manual`"
        return replace(ends("done", reason, evidence), then=assessed.keep)
    harm = assessed.verdict.harm
    onset = harm.since if harm.kind == "measured" else None
    rows = rows_for(scene, champion, as_of, onset)
    if rows.span is None:
        return replace(ends("abandoned", f"no gate: {rows.reason}", evidence), then=assessed.keep)
    sound = assessed.verdict.sound_since
    if sound is not None and sound >= rows.span.since:
        reason = f"no rows to fit: data were broken until {sound:%Y-%m-%d}"
        return replace(ends("abandoned", reason, evidence), then=assessed.keep)
    frozen = {**evidence, **freeze(scene, champion, decision, as_of, rows.span, onset, sound)}
    inputs = {
        "champion": digest(champion.document),
        "verdict": digest(evidence["verdict"]),
        "study": champion.study.hash,
    }
    reason = f"{decision.reason}; judged by {rows.reason}"
    return Goes("frozen", reason, frozen, inputs, then=assessed.keep)


def rows_for(
    scene: Scene, champion: StoredVersion, as_of: datetime, onset: datetime | None
) -> GateRows:
    """The latest matured rows, which are the gate's; what lies before them is fitted on.

    Of the time since harm began the earlier half at least is fitted on: a challenger that has seen
    nothing of a change cannot be better after it.
    """
    study = champion.study
    if study.time is not None and champion.fitted_until is None:
        why = "the champion's reference has no blocks, so nobody knows where its training rows end"
        return GateRows(None, why)
    mature = as_of - study.maturity
    split = mature - timedelta(days=scene.plan.gate_days)
    if onset is not None and onset < mature:
        split = max(split, onset + (mature - onset) / 2)
    fitted = [each for each in (split, champion.fitted_until) if each is not None]
    return gate_rows(study, fitted, as_of, spent_rows(scene.spent))


def freeze(
    scene: Scene,
    champion: StoredVersion,
    decision: Decision,
    as_of: datetime,
    gate: Span,
    onset: datetime | None,
    sound: datetime | None = None,
) -> dict[str, Any]:
    """Which rows are fitted on and which are judged by, and who competes; JSON values.

    Nothing is fitted on rows before ``sound``, the end of the last window with broken data.
    """
    only = decision.action == "recalibrate"
    candidates = (RECALIBRATION,) if only else scene.plan.challengers
    days = scene.plan.fit_days
    since = None if days is None else gate.since - timedelta(days=days)
    if onset is None or onset >= gate.since:
        onset = gate.since - timedelta(days=scene.plan.gate_days)
    if sound is not None:
        since, onset = max(since or sound, sound), max(onset, sound)
    return {
        "champion": champion.version,
        "as_of": as_of.isoformat(timespec="seconds"),
        "action": decision.action,
        "candidates": [each.model_dump(mode="json") for each in candidates],
        "sites": list(scene.world.sites.sites),
        "since": None if since is None else since.isoformat(),
        "changed": onset.isoformat(),
        "split": gate.since.isoformat(),
        "until": gate.until.isoformat(),
        "maturity_seconds": champion.study.maturity.total_seconds(),
    }
