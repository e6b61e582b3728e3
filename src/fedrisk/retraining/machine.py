"""The machine: takes one step after another, writes each down, and waits where it must.

Whoever is killed at any point is followed by whoever runs the machine next, from the state that was
written down last. What is away is waited for, and then the retraining is abandoned with its reason
while the champion goes on serving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from fedrisk.errors import (
    ConvergenceError,
    DatabaseAwayError,
    FederationError,
    FedriskError,
    FencedError,
    ModelNotFoundError,
    RegistryError,
    ServiceAwayError,
    TrialError,
)
from fedrisk.retraining.hold_gate import Gate, hold_gate
from fedrisk.retraining.lease import Lease
from fedrisk.retraining.loop import Loop, Transition
from fedrisk.retraining.loop_store import LoopStore
from fedrisk.retraining.plan import ChangePlan
from fedrisk.retraining.ports import World
from fedrisk.retraining.states import State, may_follow
from fedrisk.retraining.steps import STEPS
from fedrisk.retraining.steps.step import Goes, Scene, Step, Waits, ends

#: Seconds between two tries while something is away, at first and at most.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


@dataclass
class Machine:
    """Runs one retraining.

    Parameters
    ----------
    store : LoopStore
    world : World
    lease : Lease
    signed : callable
        Whether a person's signature covers a plan.
    as_of : datetime, optional
        Time as which the sites' rows are looked at.
    say : callable
        Told of every step, and of what is waited for.
    gate : callable
    steps : mapping of state to step
    """

    store: LoopStore
    world: World
    lease: Lease
    signed: Callable[[ChangePlan], bool] = lambda _: False
    as_of: datetime | None = None
    say: Callable[[str], None] = lambda _: None
    gate: Gate = hold_gate
    steps: Mapping[State, Step] = field(default_factory=lambda: STEPS)

    def run(self, loop: Loop, patience: float) -> Loop:
        """Go on until the retraining ends, or has to wait for longer than somebody is willing to.

        Parameters
        ----------
        loop : Loop
        patience : float
            Seconds of waiting for a trial, an approval or a watch, at one stretch.

        Raises
        ------
        FencedError
            When another process has taken the retraining up.
        FedriskError
            When something is away, and the retraining cannot be abandoned in its state.
        """
        plan = ChangePlan.model_validate(dict(loop.plan["plan"]))
        trouble = _Trouble(plan.patience_seconds, self.world)
        guarded = False
        while loop.open:
            try:
                if not guarded:
                    self.world.registry.guard(self.lease.fence)
                    guarded = True
                taken = self.steps[loop.state](self._scene(loop, plan))
                trouble.over()
            except FencedError:
                raise
            except FedriskError as error:
                if self._again(loop, error, trouble):
                    continue
                taken = self._abandon(loop, error)
            if isinstance(taken, Waits):
                if not self._wait(loop, taken, patience):
                    return replace(loop, reason=taken.reason)
                loop = self.store.find(loop.id) or loop
                continue
            loop = self._go(loop, taken)
        return loop

    def _scene(self, loop: Loop, plan: ChangePlan) -> Scene:
        spent = tuple(self.store.spent(loop.scope))
        signed = self.signed(plan)
        return Scene(loop, plan, signed, self.world, self.lease.fence, self.as_of, spent, self.gate)

    def _go(self, loop: Loop, taken: Goes) -> Loop:
        step = Transition(
            number=loop.number + 1,
            before=loop.state,
            state=taken.state,
            at=self.world.clock.now(),
            fence=self.lease.fence,
            reason=taken.reason,
            evidence=taken.evidence,
            inputs=taken.inputs,
        )
        after = self.store.advance(loop, self.lease, step, taken.spent)
        if taken.then is not None:
            taken.then()
        self.say(f"{after.state}: {after.reason}")
        return after

    def _wait(self, loop: Loop, taken: Waits, patience: float) -> bool:
        """Whether it is worth while; then wait until it is time to look again."""
        now = self.world.clock.now()
        if taken.reason != loop.reason:
            self.store.explain(loop, self.lease, taken.reason)
            self.say(f"{loop.state}: {taken.reason}")
        if taken.until - now > timedelta(seconds=patience):
            return False
        self.world.clock.sleep(max((taken.again - now).total_seconds(), 0.0))
        return True

    def _again(self, loop: Loop, error: FedriskError, trouble: _Trouble) -> bool:
        """Whether a step that failed is tried again; then wait first."""
        pause = trouble.pause() if away(error) else None
        if pause is None:
            return False
        self.say(f"{loop.state}: {error.message}; trying again")
        self.world.clock.sleep(pause)
        return True

    def _abandon(self, loop: Loop, error: FedriskError) -> Goes:
        """The end of a retraining that cannot go on, where its state allows that."""
        if not may_follow("closing", loop.state):
            self.store.explain(loop, self.lease, error.message)
            raise error
        return ends("abandoned", error.message, {"error": type(error).__name__})


def away(error: FedriskError) -> bool:
    """Whether trying again later may help: something does not answer."""
    if isinstance(error, ModelNotFoundError | TrialError | ConvergenceError):
        return False
    return isinstance(error, DatabaseAwayError | RegistryError | ServiceAwayError | FederationError)


@dataclass
class _Trouble:
    """How long something has been away."""

    patience: float
    world: World
    since: datetime | None = None
    pauses: int = 0

    def over(self) -> None:
        """It is there again."""
        self.since, self.pauses = None, 0

    def pause(self) -> float | None:
        """Seconds until the next try; None once patience has run out."""
        now = self.world.clock.now()
        self.since = self.since or now
        left = self.patience - (now - self.since).total_seconds()
        if left <= 0:
            return None
        self.pauses += 1
        return min(left, LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self.pauses - 1))
