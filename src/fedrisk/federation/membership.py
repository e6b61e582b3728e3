"""Who takes part in a run: a fixed roster, that sites can leave and not come back to.

Sums of different sets of sites must not be mixed silently, so a site that misses one message is
out for the rest of the run, and every round says who took part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedrisk.errors import FedriskError, QuorumError, SiteRefusedError


@dataclass
class Roster:
    """The sites of one run.

    Attributes
    ----------
    quorum : int or None
        How many must stay; None means all.
    active : tuple of str or None
        Names of the sites that still take part, sorted; None until the first round of a run that
        names no sites.
    nodes : dict of int to str
        Which site each of Flower's nodes said it is. Not kept in checkpoints: a new federation has
        new nodes.
    seconds : dict of int to float
        How long each node took for its last answer. Not kept in checkpoints either.
    """

    quorum: int | None = None
    active: tuple[str, ...] | None = None
    nodes: dict[int, str] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, sites: tuple[str, ...], quorum: int | None) -> Roster:
        """The roster of a request; no names mean whoever is connected."""
        return cls(quorum, tuple(sorted(sites)) or None)

    def document(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"active": None if self.active is None else list(self.active)}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take up what `document` gave."""
        self.active = None if document["active"] is None else tuple(document["active"])

    def close(self, answered: set[str], faults: Mapping[str, FedriskError]) -> None:
        """End a round: drop who did not answer well, if enough stay.

        Parameters
        ----------
        answered : set of str
        faults : mapping of site to error
            Of every active site that is not among ``answered``.

        Raises
        ------
        QuorumError
            When fewer than the quorum stay, naming who is missing and why.
        SiteRefusedError
            The same, where every missing site refused.
        """
        needed = len(answered) + len(faults) if self.quorum is None else self.quorum
        if len(answered) < max(needed, 1):
            raise _shortfall(len(answered), max(needed, 1), faults)
        self.active = tuple(sorted(answered))


def _shortfall(answered: int, needed: int, faults: Mapping[str, FedriskError]) -> FedriskError:
    reasons = "; ".join(faults[site].message for site in sorted(faults)) or "no site is connected"
    refused = bool(faults) and all(isinstance(e, SiteRefusedError) for e in faults.values())
    hints = list(dict.fromkeys(faults[site].hint for site in sorted(faults) if faults[site].hint))
    kind = SiteRefusedError if refused else QuorumError
    return kind(
        f"{answered} of the {needed} sites that are needed answered: {reasons}", "; ".join(hints)
    )
