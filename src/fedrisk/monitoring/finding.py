"""What is found in one window: findings about subjects, faults of columns, and their documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from fedrisk.monitoring.quality import Fault


@dataclass(frozen=True)
class Finding:
    """One subject in one window of one site, by the detector that speaks loudest.

    Attributes
    ----------
    subject : str
        A feature, ``score``, or ``rows``.
    detector : str
    statistic : float
        Distance from the reference of the same season, on the detector's scale.
    effect : float
        Statistic as a multiple of the least that matters.
    p_value : float or None
        Of all detectors of the subject together; None where the reference cannot tell.
    q_value : float or None
        Least rate of false discoveries at which this would be one.
    found : bool
        A discovery, of an effect that matters.
    sentence : str
    """

    subject: str
    detector: str
    statistic: float
    effect: float
    p_value: float | None
    q_value: float | None
    found: bool
    sentence: str


@dataclass(frozen=True)
class WindowRecord:
    """What was found in one window of one site.

    Attributes
    ----------
    start, end : datetime
        With a time zone.
    rows : float
    faults : tuple of Fault
    findings : tuple of Finding
    seasonal : tuple of str
        Subjects that differ from the year as a whole and not from their season.
    unseen_season : bool
        Whether the reference has too little of the window's season to tell anything.
    """

    start: datetime
    end: datetime
    rows: float
    faults: tuple[Fault, ...] = ()
    findings: tuple[Finding, ...] = ()
    seasonal: tuple[str, ...] = ()
    unseen_season: bool = False

    def document(self) -> dict[str, Any]:
        """The record as JSON values."""
        times = {"start": self.start.isoformat(), "end": self.end.isoformat()}
        return asdict(self) | times | {"seasonal": list(self.seasonal)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `document`; KeyError, TypeError or ValueError where it is none."""
        return cls(
            start=datetime.fromisoformat(document["start"]),
            end=datetime.fromisoformat(document["end"]),
            rows=float(document["rows"]),
            faults=tuple(Fault(**each) for each in document["faults"]),
            findings=tuple(Finding(**each) for each in document["findings"]),
            seasonal=tuple(document["seasonal"]),
            unseen_season=bool(document["unseen_season"]),
        )
