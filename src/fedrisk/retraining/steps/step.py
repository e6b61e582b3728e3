"""What a step sees, and what it answers: it goes on, or it waits.

A step may be taken again after whoever took it died at any point, so each of its effects is one
that may be asked for twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fedrisk.retraining.hold_gate import Gate, hold_gate
from fedrisk.retraining.loop import Loop
from fedrisk.retraining.plan import ChangePlan
from fedrisk.retraining.ports import World
from fedrisk.retraining.states import End, State


@dataclass(frozen=True)
class Scene:
    """What a step sees.

    Attributes
    ----------
    loop : Loop
    plan : ChangePlan
        As it was when the retraining began.
    signed : bool
        Whether a person's signature covers the plan.
    world : World
    fence : int
        Token of whoever takes the step.
    as_of : datetime or None
        Time as which the sites' rows are looked at; None is now.
    spent : sequence of dict
        What earlier gates of this model looked at.
    gate : callable
        Judges challengers by a comparison.
    """

    loop: Loop
    plan: ChangePlan
    signed: bool
    world: World
    fence: int
    as_of: datetime | None = None
    spent: tuple[Mapping[str, Any], ...] = ()
    gate: Gate = hold_gate

    @property
    def now(self) -> datetime:
        """The time."""
        return self.world.clock.now()

    def require(self, state: State, name: str) -> Any:
        """A finding of an earlier step, which that step always has."""
        return self.loop.facts[state][name]


@dataclass(frozen=True)
class Goes:
    """The step is taken.

    Attributes
    ----------
    state : State
        What is reached.
    reason : str
        A sentence.
    evidence : dict
        What was found; JSON values.
    inputs : dict of str to str
        SHA-256 of what was looked at, by name.
    spent : dict, optional
        What a gate looked at.
    then : callable, optional
        Done once the step is written down; lost when its holder dies in between.
    """

    state: State
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    spent: Mapping[str, Any] | None = None
    then: Callable[[], None] | None = None


@dataclass(frozen=True)
class Waits:
    """The step is not taken yet.

    Attributes
    ----------
    until : datetime
        When it is taken at the earliest, as far as can be told.
    again : datetime
        When to look again.
    reason : str
    """

    until: datetime
    again: datetime
    reason: str


Step = Callable[[Scene], Goes | Waits]


def ends(how: End, reason: str, evidence: Mapping[str, Any] | None = None) -> Goes:
    """The retraining ends without a new champion, once the challenger is taken away."""
    return Goes("closing", reason, {**(evidence or {}), "end": how})


def champion_moved(scene: Scene) -> Goes | None:
    """The end of a retraining whose champion is no more the one that it is about."""
    champion = scene.world.registry.standing().champion
    expected = scene.require("frozen", "champion")
    if champion == expected:
        return None
    return ends(
        "abandoned",
        f"the champion is version {champion}, not {expected} that the challenger was judged by: "
        "somebody moved it meanwhile",
    )
