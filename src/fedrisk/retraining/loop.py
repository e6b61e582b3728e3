"""One retraining as it is kept: its state, and what every transition found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from fedrisk.attestation import canonical
from fedrisk.errors import UsageError
from fedrisk.retraining.decision import Trigger
from fedrisk.retraining.states import ENDS, FIRST, State


@dataclass(frozen=True)
class Approval:
    """What a person answered.

    Attributes
    ----------
    approved : bool
    by : str
        Who, as they call themselves or as the API knows them.
    at : datetime
    reason : str

    Raises
    ------
    UsageError
        When a text has characters that no database keeps: the step that repeats it would fail.
    """

    approved: bool
    by: str
    at: datetime
    reason: str = ""

    def __post_init__(self) -> None:
        if any(each == "\0" or "\ud800" <= each <= "\udfff" for each in self.by + self.reason):
            raise UsageError("an answer's name and reason are texts without NUL or stray bytes")

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "approved": self.approved,
            "by": self.by,
            "at": self.at.isoformat(),
            "reason": self.reason,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Approval:
        """Rebuild from `document`."""
        at = datetime.fromisoformat(document["at"])
        return cls(document["approved"], document["by"], at, document["reason"])


@dataclass(frozen=True)
class Transition:
    """One step of a retraining, written down in the same transaction as the new state.

    Attributes
    ----------
    number : int
        From 1.
    before, state : State
        From which, to which.
    at : datetime
    fence : int
        Of the holder that took the step.
    reason : str
        A sentence.
    evidence : dict
        What the step found; JSON values.
    inputs : dict of str to str
        SHA-256 of what the step looked at, by name.
    chain : str
        SHA-256 of all this and of the chain's value before it, so that no past step can be changed
        without a trace.
    """

    number: int
    before: State
    state: State
    at: datetime
    fence: int
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    chain: str = ""

    def chained(self, past: str) -> str:
        """The chain's value after this step, where it was ``past`` before."""
        return digest({"past": past, **self.document(), "chain": ""})

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "number": self.number,
            "before": self.before,
            "state": self.state,
            "at": self.at.isoformat(),
            "fence": self.fence,
            "reason": self.reason,
            "evidence": dict(self.evidence),
            "inputs": dict(self.inputs),
            "chain": self.chain,
        }


@dataclass(frozen=True)
class Loop:
    """A retraining.

    Attributes
    ----------
    id : str
        Names its runs too.
    scope : str
        The registered model; one retraining of a model is open at a time.
    trigger : {"drift", "scheduled", "manual"}
    created : datetime
    plan : dict
        The change plan as it was when this began; a changed file changes later retrainings.
    state : State
    reason : str
        Of the last transition, or why it waits.
    facts : dict of State to dict
        Evidence of the transition into each state that was reached.
    number : int
        Of the last transition; 0 before the first.
    chain : str
        Value of the chain of transitions.
    approval : Approval, optional
    changed : datetime
        When the state was reached.
    """

    id: str
    scope: str
    trigger: Trigger
    created: datetime
    plan: Mapping[str, Any]
    state: State = FIRST
    reason: str = ""
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    number: int = 0
    chain: str = ""
    approval: Approval | None = None
    changed: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ENDS

    @property
    def since(self) -> datetime:
        """When the state was reached."""
        return self.changed or self.created

    def fact(self, state: State, name: str) -> Any:
        """One finding of the transition into a state; None where there is none."""
        return self.facts.get(state, {}).get(name)


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON document in its canonical form.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    return sha256(canonical(document)).hexdigest()
