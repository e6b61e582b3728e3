"""What one judgement hands to the next: the false-discovery state, recent windows, evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fedrisk.errors import StudyError
from fedrisk.monitoring.finding import WindowRecord

FORMAT = 1


@dataclass(frozen=True)
class Memory:
    """State between judgements of one champion; judging gives a new one and leaves this as it is.

    Attributes
    ----------
    discoveries : dict
        State document of the online false-discovery control; empty at the start.
    history : dict of str to tuple of WindowRecord
        By site, what was found in its last windows, oldest first: a window that comes again is not
        tested again.
    broken : dict of str to tuple of datetime
        By site, ends of windows with a fault.
    evidence : dict of str to dict
        State documents of the sequential tests, by name; empty at the start.
    matured : dict of str to datetime
        By site, end of the last window whose labels were counted as evidence.
    """

    discoveries: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, tuple[WindowRecord, ...]] = field(default_factory=dict)
    broken: Mapping[str, tuple[datetime, ...]] = field(default_factory=dict)
    evidence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    matured: Mapping[str, datetime] = field(default_factory=dict)

    def judged(self, site: str) -> datetime | None:
        """End of a site's last window that was tested."""
        past = self.history.get(site, ())
        return past[-1].end if past else None

    def document(self) -> dict[str, Any]:
        """The memory as JSON values."""
        return {
            "format": FORMAT,
            "discoveries": dict(self.discoveries),
            "history": {
                site: [record.document() for record in past] for site, past in self.history.items()
            },
            "broken": {
                site: [end.isoformat() for end in ends] for site, ends in self.broken.items()
            },
            "evidence": {name: dict(state) for name, state in self.evidence.items()},
            "matured": {site: time.isoformat() for site, time in self.matured.items()},
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
                    site: tuple(WindowRecord.from_document(record) for record in past)
                    for site, past in document["history"].items()
                },
                broken={
                    site: tuple(datetime.fromisoformat(end) for end in ends)
                    for site, ends in document["broken"].items()
                },
                evidence={name: dict(state) for name, state in document["evidence"].items()},
                matured={
                    site: datetime.fromisoformat(time) for site, time in document["matured"].items()
                },
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StudyError(f"not the memory of a verdict: {error!r}") from None
