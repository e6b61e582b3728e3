"""The verdict: what windows of current rows say about the champion, in sentences and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from fedrisk.monitoring.memory import Memory
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.study import Study

Reference = Any
SiteWindow = Any

Status = Literal["stable", "monitor", "drift", "harm", "quality", "insufficient evidence"]
Severity = Literal["none", "low", "medium", "high"]
Diagnosis = Literal[
    "none",
    "quality",
    "season",
    "covariate",
    "prevalence",
    "calibration",
    "concept",
    "ageing",
    "site out of line",
]


@dataclass(frozen=True)
class FeatureVerdict:
    """The strongest finding about one feature (or the score), over detectors, sites and windows.

    Attributes
    ----------
    statistic : float
        Distance from the reference of the same season, on the detector's scale.
    effect : float
        Statistic as a multiple of the least that matters.
    p_value, q_value : float or None
        None where the reference has too few blocks to tell.
    drifted : bool
        Significant, large, important, and persistent.
    detector, site : str
    importance : float
        Share of the model's spread of log-odds, 0 to 1.
    sentence : str
    """

    statistic: float
    effect: float
    p_value: float | None
    q_value: float | None
    drifted: bool
    detector: str
    site: str
    importance: float
    sentence: str


@dataclass(frozen=True)
class SiteVerdict:
    """One site's part.

    Attributes
    ----------
    status : Status
    windows : int
        How many were judged.
    rows, labelled, events : float
    drifted : tuple of str
        Features that drifted there.
    reasons : tuple of str
        Data faults, and why windows were not judged.
    """

    status: Status
    windows: int
    rows: float
    labelled: float
    events: float
    drifted: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Harm:
    """What the change costs.

    Attributes
    ----------
    kind : {"measured", "estimated", "none", "unknown"}
        By mature labels; without labels under the stated conditions; none of either; no saying.
    figures : dict
        Observed/expected, calibration slope, AUROC and its loss, e-value; None is unknown.
    sentences : tuple of str
    """

    kind: Literal["measured", "estimated", "none", "unknown"]
    figures: Mapping[str, float | None] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What the windows say.

    Attributes
    ----------
    status, severity, diagnosis
    at : datetime
        When it was given, with a time zone.
    study : str
        Hash.
    per_site : dict of str to SiteVerdict
    per_feature : dict of str to FeatureVerdict
        Also of ``score`` and ``model``, which are no features.
    harm : Harm
    sentences : tuple of str
        The verdict in words, most important first.
    sites_out_of_line : tuple of str
        Sites that changed while the others did not.
    memory : Memory
        To be handed to the next judgement, if this one counts.
    """

    status: Status
    severity: Severity
    diagnosis: Diagnosis
    at: datetime
    study: str
    per_site: Mapping[str, SiteVerdict]
    per_feature: Mapping[str, FeatureVerdict]
    harm: Harm
    sentences: tuple[str, ...]
    sites_out_of_line: tuple[str, ...] = ()
    memory: Memory = field(default_factory=Memory, compare=False)

    def document(self) -> dict[str, Any]:
        """The verdict as JSON values, without the memory."""
        return {
            "verdict": self.status,
            "severity": self.severity,
            "diagnosis": self.diagnosis,
            "at": self.at.isoformat(),
            "study": self.study,
            "per_site": {site: asdict(each) for site, each in self.per_site.items()},
            "per_feature": {name: asdict(each) for name, each in self.per_feature.items()},
            "harm": asdict(self.harm),
            "sites_out_of_line": list(self.sites_out_of_line),
            "sentences": list(self.sentences),
        }


def judge(
    study: Study,
    reference: Reference,
    windows: Sequence[SiteWindow],
    model: Mapping[str, Any],
    memory: Memory,
    rules: VerdictRules,
    now: datetime,
) -> Verdict:
    """Judge current windows against the champion's reference.

    Parameters
    ----------
    study : Study
        The champion's.
    reference : Reference
        Blocks of its training period.
    windows : sequence of SiteWindow
        Current windows; those that the memory knows are not counted again.
    model : dict
        The champion's document.
    memory : Memory
        Of the judgement before this one of the same champion.
    rules : VerdictRules
    now : datetime
        With a time zone.
    """
    raise NotImplementedError
