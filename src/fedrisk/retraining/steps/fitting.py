"""From ``frozen``: fit every candidate at the sites, and register it without an alias."""

from __future__ import annotations

from typing import Any

from fedrisk.errors import ConvergenceError, DataError, EgressError
from fedrisk.retraining.loop import digest
from fedrisk.retraining.plan import Candidate
from fedrisk.retraining.ports import StoredVersion
from fedrisk.retraining.steps.step import Goes, Scene, ends
from fedrisk.study.training import TrainingRequest


def fit_candidates(scene: Scene) -> Goes:
    """Fit each under a run id of its own, so that who comes after a crash finds what is there."""
    champion = scene.world.registry.stored(scene.require("frozen", "champion"))
    fitted: dict[str, Any] = {}
    failed: dict[str, str] = {}
    inputs = {"champion": digest(champion.document)}
    for document in scene.require("frozen", "candidates"):
        candidate = Candidate.model_validate(document)
        try:
            found = scene.world.sites.train(request_of(scene, champion, candidate))
        except (ConvergenceError, DataError, EgressError) as error:
            failed[candidate.name] = error.message
            continue
        result = found.result
        fitted[candidate.name] = {
            "version": found.version,
            "run_id": result.request.run_id,
            "metrics": dict(result.metrics),
            "rows": {site: dict(counts) for site, counts in result.rows.items()},
        }
        inputs[candidate.name] = digest(result.model)
    evidence = {"fitted": fitted, "failed": failed}
    if not fitted:
        reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
        return ends("abandoned", f"no candidate could be fitted: {reasons}", evidence)
    versions = ", ".join(f"{name} is version {each['version']}" for name, each in fitted.items())
    return Goes("trained", f"fitted and registered: {versions}", evidence, inputs)


def request_of(scene: Scene, champion: StoredVersion, candidate: Candidate) -> TrainingRequest:
    """What the sites are asked for one candidate."""
    recalibrates = candidate.strategy == "recalibrate"
    begin = "changed" if candidate.rows == "changed" else "since"
    return TrainingRequest(
        run_id=f"{scene.loop.id}-{candidate.name}",
        study=champion.study,
        model=candidate.model,
        strategy=candidate.strategy,
        options=candidate.options,
        sites=tuple(scene.require("frozen", "sites")),
        as_of=scene.require("frozen", "as_of"),
        since=scene.require("frozen", begin),
        until=scene.require("frozen", "split"),
        base=dict(champion.document) if recalibrates else None,
        deadline=scene.plan.deadline,
        quorum=scene.plan.quorum,
    )
