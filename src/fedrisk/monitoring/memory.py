"""What one judgement hands to the next: the false-discovery state, recent findings, evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedrisk.errors import StudyError

FORMAT = 1


@dataclass(frozen=True)
class Memory:
    """State between judgements of one champion; judging gives a new one and leaves this as it is.

    Attributes
    ----------
    discoveries : dict
        State document of the online false-discovery control; empty at the start.
    history : dict of str to tuple of (str, bool)
        By site, detector and subject: the windows that were looked at, oldest first, and whether
        each had a finding.
    evidence : dict of str to dict
        State documents of the e-processes, by name.
    judged : dict of str to str
        By site, ISO time up to which windows were counted: none is counted twice.
    """

    discoveries: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, tuple[tuple[str, bool], ...]] = field(default_factory=dict)
    evidence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    judged: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The memory as JSON values."""
        return {
            "format": FORMAT,
            "discoveries": dict(self.discoveries),
            "history": {key: [list(each) for each in past] for key, past in self.history.items()},
            "evidence": {name: dict(state) for name, state in self.evidence.items()},
            "judged": dict(self.judged),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Memory:
        """Rebuild from `document`.

        Raises
        ------
        StudyError
            When it is no such document, or of a newer format.
        """
        try:
            if document["format"] > FORMAT:
                raise ValueError(f"format {document['format']}")
            return cls(
                discoveries=dict(document["discoveries"]),
                history={
                    key: tuple((str(end), bool(found)) for end, found in past)
                    for key, past in document["history"].items()
                },
                evidence={name: dict(state) for name, state in document["evidence"].items()},
                judged={site: str(time) for site, time in document["judged"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StudyError(f"not the memory of a verdict: {error!r}") from None
