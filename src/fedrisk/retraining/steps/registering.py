"""From ``gated`` and ``registered``: the alias of the challenger, and the shadow."""

from __future__ import annotations

from fedrisk.registry.trial_control import NO_TRIAL, TrialControl
from fedrisk.retraining.steps.step import Goes, Scene, champion_moved


def register_challenger(scene: Scene) -> Goes:
    """Make the chosen version the challenger; nothing of it reaches anybody yet."""
    moved = champion_moved(scene)
    if moved is not None:
        return moved
    version = scene.require("gated", "version")
    scene.world.registry.challenge(version, NO_TRIAL, because(scene), scene.fence)
    return Goes("registered", f"version {version} is the challenger", {"version": version})


def start_shadow(scene: Scene) -> Goes:
    """Let the challenger score what the champion answers, where there is a server."""
    version = scene.require("registered", "version")
    if scene.world.server is None:
        return Goes("shadow", "no server is named: nothing is tried in service")
    shadow = TrialControl(0.0, shadow=True)
    scene.world.registry.challenge(version, shadow, because(scene), scene.fence)
    return Goes("shadow", f"version {version} scores in the shadow")


def because(scene: Scene) -> str:
    """What the registry notes as the reason of a move."""
    return f"retraining {scene.loop.id}, {scene.loop.trigger}"
