"""From ``returning``: an earlier champion is judged again, and then serves again."""

from __future__ import annotations

from typing import Any

from fedrisk.errors import ModelFileError, ModelNotFoundError
from fedrisk.retraining.steps.reevaluating import reevaluate
from fedrisk.retraining.steps.registering import because
from fedrisk.retraining.steps.step import Goes, Scene


def give_back(scene: Scene) -> Goes:
    """Return to the latest earlier champion that is fit; without one, the present one stays."""
    registry = scene.world.registry
    mine = scene.require("promoted", "version")
    standing = registry.standing()
    earlier = [each for each in reversed(standing.past) if each != mine]
    # Asked again after a crash, the champion has moved already: it is the first to be looked at.
    tried: list[dict[str, Any]] = []
    for version in dict.fromkeys(earlier):
        try:
            judged = reevaluate(scene, version)
        except (ModelFileError, ModelNotFoundError) as error:
            tried.append({"version": version, "fit": False, "sentence": error.message})
            continue
        tried.append(judged.document())
        if not judged.fit:
            continue
        registry.give_back(version, mine, because(scene), scene.fence)
        reason = f"returned to version {version}, {judged.sentence}: {scene.loop.reason}"
        return Goes("returned", reason, {"version": version, "reevaluated": tried})
    said = "; ".join(f"version {each['version']}: {each['sentence']}" for each in tried)
    reason = f"no earlier champion is fit to return to ({said or 'there is none'}); it stays"
    return Goes("abandoned", f"{scene.loop.reason}; {reason}", {"reevaluated": tried})
