"""From signs to a status, a severity and a diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fedrisk.detectors.performance_measured import MeasuredPerformance
from fedrisk.monitoring.finding import Finding, WindowRecord
from fedrisk.monitoring.harm import Measured
from fedrisk.monitoring.quality import Fault
from fedrisk.monitoring.rules import VerdictRules

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
#: Detectors of what is not there or cannot be: their drift is one of the data, not of the world.
QUALITY_DETECTORS = frozenset({"missingness", "range_violations"})
#: Share of the model's spread from which a feature is one of the main ones.
_MAIN = 0.1
#: From these on harm is high: observed/expected as a factor, and fall of the AUROC.
_HIGH_RATIO, _HIGH_LOSS = 1.5, 0.1
#: Multiple of the least effect that matters from which a drift is medium whatever the feature.
_LARGE = 5.0


@dataclass(frozen=True)
class Signs:
    """What the windows show, before anything is concluded.

    Attributes
    ----------
    recent : dict of str to tuple of WindowRecord
        By site, its last windows, oldest first.
    drifted : dict of str to tuple of str
        By site, subjects that drifted.
    importance : dict of str to float
        Of features; other subjects count in full.
    label_faults : dict of str to tuple of Fault
        By site.
    measured : Measured
    performance : dict of str to MeasuredPerformance
        Of the sites that have mature labels.
    vanished : tuple of str
        Sites without a recent window.
    overdue : bool
        Whether labels that are due are not there.
    """

    recent: Mapping[str, tuple[WindowRecord, ...]]
    drifted: Mapping[str, tuple[str, ...]]
    importance: Mapping[str, float]
    label_faults: Mapping[str, tuple[Fault, ...]]
    measured: Measured
    performance: Mapping[str, MeasuredPerformance] = field(default_factory=dict)
    vanished: tuple[str, ...] = ()
    overdue: bool = False

    def weight(self, subject: str) -> float:
        """Importance of a subject, 0 to 1."""
        return self.importance.get(subject, 1.0)

    def faults(self, site: str) -> tuple[Fault, ...]:
        """Faults of a site's recent windows and labels, each subject's newest of a kind once."""
        found = {
            (fault.kind, fault.subject): fault
            for record in self.recent.get(site, ())
            for fault in record.faults
        }
        return (*found.values(), *self.label_faults.get(site, ()))

    def latest(self, site: str) -> tuple[Finding, ...]:
        """What was found in a site's newest window."""
        past = self.recent.get(site, ())
        return past[-1].findings if past else ()

    def strongest(self, site: str, subject: str) -> Finding | None:
        """The finding about a subject in a site's recent windows with the largest effect."""
        found = [
            finding
            for record in self.recent.get(site, ())
            for finding in record.findings
            if finding.subject == subject
        ]
        return max(found, key=lambda each: (each.found, each.effect), default=None)

    def important_drift(self, site: str, rules: VerdictRules) -> tuple[str, ...]:
        """Drifted subjects of a site that the model's answer hangs on."""
        drifted = self.drifted.get(site, ())
        return tuple(s for s in drifted if self.weight(s) >= rules.least_importance)

    @property
    def broken(self) -> tuple[str, ...]:
        """Sites with a fault."""
        return tuple(sorted(s for s in {*self.recent, *self.label_faults} if self.faults(s)))

    @property
    def untold(self) -> bool:
        """Whether no site's newest window has a p-value: the reference cannot tell."""
        findings = [finding for site in self.recent for finding in self.latest(site)]
        return all(finding.p_value is None for finding in findings)


def sites_out_of_line(signs: Signs, rules: VerdictRules) -> tuple[str, ...]:
    """Sites that changed while the others show nothing of it; empty where the world changed."""
    if signs.measured.harm.kind == "measured":
        return signs.measured.sites
    changed = _changed(signs, rules)
    others = [site for site in signs.recent if site not in changed]
    if not changed or not others:
        return ()
    subjects = {s for site in changed for s in signs.important_drift(site, rules)}
    touched = [
        site
        for site in others
        if any(
            finding.found and finding.subject in subjects
            for record in signs.recent[site]
            for finding in record.findings
        )
    ]
    part = (len(changed) + len(touched)) / len(signs.recent)
    return tuple(sorted(changed)) if part <= rules.sites_in_line else ()


def _changed(signs: Signs, rules: VerdictRules) -> list[str]:
    return [site for site in signs.recent if signs.important_drift(site, rules)]


def status_of(signs: Signs, rules: VerdictRules) -> Status:
    """The status: faults before harm, harm before drift."""
    if signs.broken:
        return "quality"
    if not signs.recent:
        return "insufficient evidence"
    kind = signs.measured.harm.kind
    if kind in ("measured", "estimated"):
        return "harm"
    if any(signs.important_drift(site, rules) for site in signs.recent):
        return "drift"
    if signs.untold and kind == "unknown":
        return "insufficient evidence"
    moved = any(f.found for past in signs.recent.values() for r in past for f in r.findings)
    if moved or signs.untold or signs.vanished or signs.overdue:
        return "monitor"
    return "stable"


def diagnosis_of(signs: Signs, status: Status, rules: VerdictRules) -> Diagnosis:
    """What is the matter, in a word."""
    if status == "quality":
        return "quality"
    if status in ("drift", "harm") and sites_out_of_line(signs, rules):
        return "site out of line"
    cause = signs.measured.cause
    if status == "harm" and cause != "none":
        # Where the rows themselves changed nearly everywhere, what the scores mean follows.
        rows_changed = len(_changed(signs, rules)) > rules.sites_in_line * len(signs.recent)
        return "covariate" if rows_changed and cause != "concept" else cause
    if status in ("drift", "harm"):
        found = [
            signs.strongest(site, subject)
            for site in signs.recent
            for subject in signs.important_drift(site, rules)
        ]
        if found and all(f is not None and f.detector in QUALITY_DETECTORS for f in found):
            return "quality"
        return "covariate"
    if status == "stable" and seasonal_subjects(signs, rules):
        return "season"
    return "none"


def seasonal_subjects(signs: Signs, rules: VerdictRules) -> tuple[str, ...]:
    """Important subjects that differ from the year, as every year, in a site's newest window."""
    found = {
        subject: None
        for past in signs.recent.values()
        for subject in past[-1].seasonal
        if signs.weight(subject) >= rules.least_importance
    }
    return tuple(found)


def severity_of(signs: Signs, status: Status, rules: VerdictRules) -> Severity:
    """How much it matters."""
    if status == "stable":
        return "none"
    if status == "quality":
        subjects = [fault.subject for site in signs.broken for fault in signs.faults(site)]
        return "high" if max(map(signs.weight, subjects)) >= _MAIN else "medium"
    if status == "harm":
        return _severity_of_harm(signs.measured)
    if status == "drift":
        for site in signs.recent:
            for subject in signs.important_drift(site, rules):
                finding = signs.strongest(site, subject)
                large = finding is not None and finding.effect >= _LARGE
                if large or signs.weight(subject) >= _MAIN:
                    return "medium"
    return "low"


def _severity_of_harm(measured: Measured) -> Severity:
    figures = measured.harm.figures
    ratio = figures.get("observed_expected") or 1.0
    auroc, promised = figures.get("auroc"), figures.get("promised_auroc")
    loss = promised - auroc if auroc is not None and promised is not None else 0.0
    large = max(ratio, 1 / ratio) >= _HIGH_RATIO or loss >= _HIGH_LOSS
    return "high" if measured.harm.kind == "measured" and large else "medium"
