"""A verdict by feature."""

from __future__ import annotations

from dataclasses import dataclass

from fedrisk.monitoring.diagnosis import Signs
from fedrisk.monitoring.explanation import told
from fedrisk.monitoring.rules import VerdictRules


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


def feature_verdicts(signs: Signs, rules: VerdictRules) -> dict[str, FeatureVerdict]:
    """By feature, and by what else was looked at, what the site says that shows it best."""
    found: dict[str, FeatureVerdict] = {}
    for site in signs.recent:
        important = signs.important_drift(site, rules)
        for finding in signs.latest(site):
            shown = finding
            drifted = finding.subject in important
            if drifted:
                shown = signs.strongest(site, finding.subject) or finding
            one = FeatureVerdict(
                statistic=shown.statistic,
                effect=shown.effect,
                p_value=shown.p_value,
                q_value=shown.q_value,
                drifted=drifted,
                detector=shown.detector,
                site=site,
                importance=signs.weight(finding.subject),
                sentence=told(shown),
            )
            other = found.get(finding.subject)
            if other is None or (drifted, one.effect) > (other.drifted, other.effect):
                found[finding.subject] = one
    return found
