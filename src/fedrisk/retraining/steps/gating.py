"""From ``trained``: judge the candidates beside the champion on rows that none of them has seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fedrisk.models.comparison import Comparison
from fedrisk.retraining.hold_gate import Held, spending_record
from fedrisk.retraining.loop import digest
from fedrisk.retraining.ports import StoredVersion
from fedrisk.retraining.steps.step import Goes, Scene, ends
from fedrisk.study.questions import ComparisonRequest, ComparisonResult

CHAMPION = "champion"


def judge_candidates(scene: Scene) -> Goes:
    """Compare, judge, and choose the best that passes.

    Where care that followed the score hides what the models are worth, rows without such care are
    asked for, once. What was looked at counts as spent whatever the verdict.
    """
    registry = scene.world.registry
    champion = registry.stored(scene.require("frozen", "champion"))
    fitted = scene.require("trained", "fitted")
    models = {CHAMPION: dict(champion.document)}
    for name, each in fitted.items():
        models[name] = dict(registry.stored(each["version"]).document)
    compared, held = _judge(scene, champion, models, untreated=False)
    if held.wants_untreated and champion.study.treated is not None:
        again, other = _judge(scene, champion, models, untreated=True)
        if other.verdict == "insufficient evidence":
            said = f"{held.reason}; of rows without care alone, {other.reason}"
            held = replace(held, reason=said, alpha=other.alpha)
        else:
            compared, held = again, other
    evidence = {
        "gate": {"verdict": held.verdict, "reason": held.reason, **held.document},
        "comparison": compared.comparison,
        "refused": dict(compared.refused),
        "chosen": held.chosen,
        "version": None if held.chosen is None else fitted[held.chosen]["version"],
    }
    inputs = {name: digest(model) for name, model in models.items()}
    inputs["comparison"] = digest(compared.comparison)
    inputs["margins"] = digest(scene.plan.margins.model_dump(mode="json"))
    request = compared.request
    spent = spending_record(held, request.since, request.until, scene.now)
    if held.verdict != "pass" or held.chosen is None:
        closing = ends("refused", f"{held.verdict}: {held.reason}", evidence)
        return replace(closing, inputs=inputs, spent=spent)
    return Goes("gated", held.reason, evidence, inputs, spent)


def _judge(
    scene: Scene, champion: StoredVersion, models: dict[str, dict[str, Any]], *, untreated: bool
) -> tuple[ComparisonResult, Held]:
    request = ComparisonRequest(
        run_id=f"{scene.loop.id}-gate{'-untreated' if untreated else ''}",
        study=champion.study,
        sites=tuple(scene.require("frozen", "sites")),
        as_of=scene.require("frozen", "as_of"),
        models=models,
        since=scene.require("frozen", "split"),
        until=scene.require("frozen", "until"),
        untreated=untreated,
        deadline=scene.plan.deadline,
    )
    compared = scene.world.sites.compare(request)
    comparison = Comparison.from_document(compared.comparison)
    return compared, scene.gate(comparison, champion.study, scene.plan, scene.spent, scene.now)
