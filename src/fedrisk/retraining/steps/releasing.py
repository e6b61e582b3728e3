"""From ``cleared``, ``watched`` and ``closing``: the champion moves, or the challenger goes."""

from __future__ import annotations

from fedrisk.retraining.states import End
from fedrisk.retraining.steps.registering import because
from fedrisk.retraining.steps.step import Goes, Scene, ends
from fedrisk.retraining.steps.watching import counters


def promote_challenger(scene: Scene) -> Goes:
    """Make the challenger champion, unless somebody moved the champion meanwhile."""
    registry = scene.world.registry
    version = scene.require("registered", "version")
    before = scene.require("frozen", "champion")
    standing = registry.standing()
    if standing.champion not in (before, version):
        reason = f"the champion is version {standing.champion}, not {before}: somebody moved it"
        return ends("abandoned", reason)
    service = _service(scene)
    registry.promote(version, before, because(scene), scene.fence)
    evidence = {"version": version, "instead_of": before, "service": service}
    return Goes("promoted", f"version {version} is champion", evidence)


def _service(scene: Scene) -> dict[str, object] | None:
    """The server's counters before the promotion, from which the watch counts."""
    server = scene.world.server
    return None if server is None else counters(server.look())


def finish(scene: Scene) -> Goes:
    """The new champion has kept what it promised."""
    version = scene.require("promoted", "version")
    return Goes("done", f"version {version} is champion and was watched")


def close(scene: Scene) -> Goes:
    """Take the challenger away, and end as it was decided."""
    end: End = scene.require("closing", "end")
    version = scene.loop.fact("gated", "version")
    if version is not None:
        scene.world.registry.withdraw(version, because(scene), scene.fence)
    return Goes(end, scene.loop.facts["closing"].get("why", scene.loop.reason))
