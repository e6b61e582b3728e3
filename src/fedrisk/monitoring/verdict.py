"""The verdict: what windows of current rows say about the champion, in sentences and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from fedrisk.detectors.calibration import Calibration
from fedrisk.detectors.false_discovery import FalseDiscovery
from fedrisk.detectors.performance_measured import (
    MeasuredPerformance,
    dispersion_of,
    measure_by_site,
)
from fedrisk.monitoring.diagnosis import (
    Diagnosis,
    Severity,
    Signs,
    Status,
    diagnosis_of,
    severity_of,
    sites_out_of_line,
    status_of,
)
from fedrisk.monitoring.estimated_harm import estimated_harm
from fedrisk.monitoring.explanation import explain
from fedrisk.monitoring.harm import Harm, Measured, gathered, measured
from fedrisk.monitoring.importance import importance_of
from fedrisk.monitoring.label_quality import is_labelled, is_mature, label_faults
from fedrisk.monitoring.memory import Memory
from fedrisk.monitoring.outcomes import Outcomes, outcomes_of
from fedrisk.monitoring.per_feature import FeatureVerdict, feature_verdicts
from fedrisk.monitoring.per_site import SiteVerdict, site_verdicts
from fedrisk.monitoring.persistence import drifted_subjects
from fedrisk.monitoring.quality import Fault, contradictions, feature_faults
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.monitoring.significance import Baseline, examine
from fedrisk.monitoring.validity import Judgeable, judgeable
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study import Study

__all__ = [
    "Diagnosis",
    "FeatureVerdict",
    "Harm",
    "Memory",
    "Severity",
    "SiteVerdict",
    "Status",
    "Verdict",
    "VerdictRules",
    "judge",
]


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
    sound_since : datetime or None
        End of the last window with a fault, of any site; None where none has one. Rows before it
        are not fit to be fitted on.
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
    sound_since: datetime | None = None
    memory: Memory = field(default_factory=Memory, compare=False)

    def document(self) -> dict[str, Any]:
        """The verdict as JSON values, without the memory."""
        harm = asdict(self.harm) | {"since": _iso(self.harm.since)}
        return {
            "verdict": self.status,
            "severity": self.severity,
            "diagnosis": self.diagnosis,
            "at": self.at.isoformat(),
            "study": self.study,
            "per_site": {site: asdict(each) for site, each in self.per_site.items()},
            "per_feature": {name: asdict(each) for name, each in self.per_feature.items()},
            "harm": harm,
            "sites_out_of_line": list(self.sites_out_of_line),
            "sound_since": _iso(self.sound_since),
            "sentences": list(self.sentences),
        }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def judge(
    study: Study,
    reference: Reference,
    windows: Sequence[SiteWindow],
    model: Mapping[str, Any],
    memory: Memory,
    rules: VerdictRules,
    now: datetime,
    calibration: Calibration | None = None,
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
    calibration : Calibration, optional
        Of this reference: who judges again and again keeps one, and what it has worked out.

    Notes
    -----
    1. Windows are sorted out (`fedrisk.monitoring.validity`).
    2. Columns and labels are searched for faults (`fedrisk.monitoring.quality`).
    3. What is sound and new is compared with the same season and site of the reference, and
       tested as one batch (`fedrisk.monitoring.significance`).
    4. Drift is what lasts (`fedrisk.monitoring.persistence`) and the model hangs on.
    5. Matured labels show harm or none (`fedrisk.monitoring.harm`); where they cannot tell, scores
       may (`fedrisk.monitoring.estimated_harm`).
    6. Signs become a status, a diagnosis, a severity (`fedrisk.monitoring.diagnosis`).
    """
    hindrance = _hindrance(study, reference, model)
    if hindrance:
        return _no_verdict(study, memory, now, hindrance)
    sorted_out = judgeable(study, reference, windows, rules, now)
    baseline = Baseline(study, calibration or Calibration(reference))
    memory = _tested(baseline, sorted_out.windows, memory, rules)
    sound = [w for w in sorted_out.windows if w.end not in memory.broken.get(w.site, ())]
    due = [window for window in sound if is_mature(study, window, now)]
    labelled = [window for window in due if is_labelled(window, rules)]
    outcomes = outcomes_of(reference, labelled)
    doubtful = _label_faults(outcomes, rules)
    outcomes = [each for each in outcomes if each.site not in doubtful]
    memory = _matured(reference, outcomes, memory, rules)
    recent = {
        site: memory.history[site][-rules.among :]
        for site in sorted({window.site for window in sorted_out.windows})
    }
    signs = Signs(
        recent=recent,
        drifted={site: drifted_subjects(past, rules) for site, past in recent.items()},
        importance=importance_of(study, model),
        label_faults=doubtful,
        measured=_harm(study, reference, outcomes, sound, memory.evidence, model, rules),
        performance=_performance(reference, labelled),
        vanished=sorted_out.vanished,
        overdue=bool(due) and not is_labelled(due[-1], rules),
    )
    return _concluded(study, signs, sorted_out, memory, rules, now)


def _hindrance(study: Study, reference: Reference, model: Mapping[str, Any]) -> str:
    """Why nothing can be judged at all; empty where something can."""
    if reference.study != study.hash:
        return f"the reference is of study {reference.study[:12]}, not of {study.hash[:12]}"
    if model.get("study_hash", study.hash) != study.hash:
        return f"the model is of study {model['study_hash'][:12]}, not of {study.hash[:12]}"
    if not reference.blocks:
        return "the reference has no block to compare with"
    return ""


def _no_verdict(study: Study, memory: Memory, now: datetime, reason: str) -> Verdict:
    return Verdict(
        status="insufficient evidence",
        severity="low",
        diagnosis="none",
        at=now,
        study=study.hash,
        per_site={},
        per_feature={},
        harm=Harm("unknown"),
        sentences=(f"insufficient evidence: {reason}",),
        memory=memory,
    )


def _faults(baseline: Baseline, window: SiteWindow, rules: VerdictRules) -> tuple[Fault, ...]:
    year = baseline.profile(window.site)
    season = baseline.profile(window.site, window.season)
    found = feature_faults(
        baseline.study, year, season if season.rows else year, window.profile, rules
    )
    contradiction = contradictions(window.profile)
    if contradiction:
        found += (Fault("labels", "labels", 1.0, f"labels contradict themselves: {contradiction}"),)
    return found


def _tested(
    baseline: Baseline, windows: Sequence[SiteWindow], memory: Memory, rules: VerdictRules
) -> Memory:
    """The memory with the faults and findings of windows that it does not know."""
    new = [
        window
        for window in windows
        if (judged := memory.judged(window.site)) is None or window.start >= judged
    ]
    faults = [_faults(baseline, window, rules) for window in new]
    state = memory.discoveries
    stream = (
        FalseDiscovery.from_document(state)
        if state
        else FalseDiscovery(rate=rules.false_discoveries)
    )
    records, stream = examine(baseline, new, faults, stream)
    history, broken = dict(memory.history), dict(memory.broken)
    for window, record in zip(new, records, strict=True):
        history[window.site] = (*history.get(window.site, ()), record)[-rules.among :]
        if record.faults:
            broken[window.site] = (*broken.get(window.site, ()), window.end)
    return replace(memory, discoveries=stream.document(), history=history, broken=broken)


def _label_faults(
    outcomes: Sequence[Outcomes], rules: VerdictRules
) -> dict[str, tuple[Fault, ...]]:
    """By site, faults of the labels of its last windows."""
    by_site: dict[str, list[Outcomes]] = {}
    for each in outcomes:
        by_site.setdefault(each.site, []).append(each)
    found = {site: label_faults(past[-rules.among :], rules) for site, past in by_site.items()}
    return {site: faults for site, faults in found.items() if faults}


def _matured(
    reference: Reference, outcomes: Sequence[Outcomes], memory: Memory, rules: VerdictRules
) -> Memory:
    """The memory with the evidence of windows whose labels it has not counted."""
    new = [
        each
        for each in outcomes
        if (counted := memory.matured.get(each.site)) is None or each.start >= counted
    ]
    until = dict(memory.matured) | {each.site: each.end for each in new}
    return replace(memory, evidence=gathered(reference, new, memory.evidence, rules), matured=until)


def _performance(
    reference: Reference, labelled: Sequence[SiteWindow]
) -> dict[str, MeasuredPerformance]:
    """Each site's figures, as uncertain as its weeks of training differ."""
    blocks = {site: reference.blocks_of(site) for site in {window.site for window in labelled}}
    spread = {site: dispersion_of([b.profile for b in own]) for site, own in blocks.items()}
    return measure_by_site(labelled, spread)


def _harm(
    study: Study,
    reference: Reference,
    outcomes: Sequence[Outcomes],
    sound: Sequence[SiteWindow],
    evidence: Mapping[str, Mapping[str, Any]],
    model: Mapping[str, Any],
    rules: VerdictRules,
) -> Measured:
    """What labels say of harm; where they cannot tell, what scores say."""
    found = measured(study, reference, outcomes, evidence, model, rules)
    if found.harm.kind != "unknown":
        return found
    guessed = estimated_harm(reference, sound, evidence, rules)
    harm = Harm(
        kind=guessed.kind,
        figures={**found.harm.figures, **guessed.figures},
        sentences=(*found.harm.sentences, *guessed.sentences),
    )
    return replace(found, harm=harm)


def _concluded(
    study: Study,
    signs: Signs,
    sorted_out: Judgeable,
    memory: Memory,
    rules: VerdictRules,
    now: datetime,
) -> Verdict:
    status = status_of(signs, rules)
    diagnosis = diagnosis_of(signs, status, rules)
    broken = [end for ends in memory.broken.values() for end in ends]
    out_of_line = sites_out_of_line(signs, rules) if status in ("drift", "harm") else ()
    return Verdict(
        status=status,
        severity=severity_of(signs, status, rules),
        diagnosis=diagnosis,
        at=now,
        study=study.hash,
        per_site=site_verdicts(signs, sorted_out, rules),
        per_feature=feature_verdicts(signs, rules),
        harm=signs.measured.harm,
        sentences=explain(signs, sorted_out, status, diagnosis, out_of_line, rules),
        sites_out_of_line=out_of_line,
        sound_since=max(broken, default=None),
        memory=memory,
    )
