"""What a change costs: measured by matured labels, with evidence that may be looked at any time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np

from fedrisk.detectors.score_bins import bin_logits
from fedrisk.detectors.sequential import CalibrationEvidence
from fedrisk.monitoring.effect_change import EffectChange, effect_changes
from fedrisk.monitoring.onset import Onset, find_episode, find_onset
from fedrisk.monitoring.outcomes import Outcomes, outcomes_of
from fedrisk.monitoring.performance import Performance, performance
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.profiles.profile import Profile
from fedrisk.profiles.reference import Reference
from fedrisk.study import Study
from fedrisk.study.records import FloatArray

Cause = Literal["none", "prevalence", "calibration", "concept", "ageing"]
#: Key of the evidence of all sites together; a site's has its name after a colon.
TOGETHER = "calibration"
#: Two-sided 99 % quantile of the normal distribution: how sure a cause has to be.
_Z99 = 2.575829303548901
#: A change of a feature's effect that is this unlikely to be chance names the feature.
_SURE = 0.01


@dataclass(frozen=True)
class Harm:
    """What the change costs.

    Attributes
    ----------
    kind : {"measured", "estimated", "none", "unknown"}
        By mature labels; without labels under the stated conditions; none of either; no saying.
    figures : dict
        Observed/expected, calibration slope, AUROC and what the scores promise, since the onset;
        e-value of all matured windows; None is unknown.
    since : datetime or None
        When measured harm began, as near as windows tell.
    sentences : tuple of str
    """

    kind: Literal["measured", "estimated", "none", "unknown"]
    figures: Mapping[str, float | None] = field(default_factory=dict)
    since: datetime | None = None
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What matured labels say.

    Attributes
    ----------
    harm : Harm
    cause : Cause
    sites : tuple of str
        Sites that harm is confined to; empty where it is all sites'.
    """

    harm: Harm
    cause: Cause = "none"
    sites: tuple[str, ...] = ()


def gathered(
    reference: Reference,
    outcomes: Sequence[Outcomes],
    evidence: Mapping[str, Mapping[str, Any]],
    rules: VerdictRules,
) -> dict[str, Mapping[str, Any]]:
    """State documents of the evidence with windows that were not counted before.

    Parameters
    ----------
    reference : Reference
    outcomes : sequence of Outcomes
        Of new matured windows.
    evidence : dict of str to dict
        State documents; those that are missing begin.
    rules : VerdictRules
    """
    by_time: dict[datetime, list[Outcomes]] = defaultdict(list)
    for each in outcomes:
        by_time[each.end].append(each)
    split = mean_score(reference)
    states = dict(evidence)
    for end in sorted(by_time):
        now = by_time[end]
        _add(states, TOGETHER, now, split, rules)
        for each in now:
            _add(states, f"{TOGETHER}:{each.site}", [each], split, rules)
    return states


def _add(
    states: dict[str, Mapping[str, Any]],
    name: str,
    outcomes: Sequence[Outcomes],
    split: float,
    rules: VerdictRules,
) -> None:
    state = (
        CalibrationEvidence.from_document(states[name])
        if name in states
        else CalibrationEvidence.start(split, rules.tolerance)
    )
    rows, events = _total(outcomes)
    states[name] = state.after_counts(rows, events).document()


def _total(outcomes: Sequence[Outcomes]) -> tuple[FloatArray, FloatArray]:
    rows: FloatArray = np.sum([each.labelled for each in outcomes], axis=0)
    events: FloatArray = np.sum([each.events for each in outcomes], axis=0)
    return rows, events


def mean_score(reference: Reference) -> float:
    """Mean log-odds of the training rows."""
    return _mean_score(reference.overall())


def _mean_score(profile: Profile) -> float:
    rows = max(float(profile.scores.sum()), 1.0)
    return float(profile.scores @ bin_logits()) / rows


def measured(
    study: Study,
    reference: Reference,
    now: Sequence[Outcomes],
    evidence: Mapping[str, Mapping[str, Any]],
    model: Mapping[str, Any],
    rules: VerdictRules,
) -> Measured:
    """Judge matured windows: whether there is harm, how much, since when, and what has changed.

    Parameters
    ----------
    study : Study
    reference : Reference
    now : sequence of Outcomes
        Of current matured windows, sound ones alone.
    evidence : dict of str to dict
        As `gathered` left it.
    model : dict
        The champion's document.
    rules : VerdictRules
    """
    whole = performance(now)
    if max(whole.observed, whole.expected) < rules.least_events:
        return Measured(Harm("unknown", _figures(whole, evidence), sentences=(_too_few(whole),)))
    alone = _harmed_sites(reference, now, evidence, rules)
    if alone and len(alone) <= rules.sites_in_line * len({each.site for each in now}):
        here = [each for each in now if each.site in alone]
        # Windows from before the change would hide what it did to the other sites.
        onset = find_onset(here, mean_score(reference)).start
        rest = [each for each in now if each.site not in alone and each.start >= onset]
        if _untouched(performance(rest) if rest else None, rules):
            found = _judged(study, reference, here, alone, evidence, model, rules)
            if found.harm.kind == "measured":
                return Measured(found.harm, found.cause, alone)
    return _judged(study, reference, now, (), evidence, model, rules)


def _untouched(rest: Performance | None, rules: VerdictRules) -> bool:
    """Whether sites have as many events as expected, as far as can be told."""
    if rest is None or rest.ratio is None or rest.ratio_limits is None:
        return False
    low, high = rest.ratio_limits
    most = rules.observed_expected
    return low <= 1.0 <= high and 1 / most < rest.ratio < most


def _harmed_sites(
    reference: Reference,
    now: Sequence[Outcomes],
    evidence: Mapping[str, Mapping[str, Any]],
    rules: VerdictRules,
) -> tuple[str, ...]:
    """Sites whose own evidence refutes the model, at a level that is shared among them."""
    sites = sorted({each.site for each in now})
    level = rules.harm_alpha / max(len(sites), len(reference.sites))
    return tuple(site for site in sites if _refuted(evidence, f"{TOGETHER}:{site}", level))


def _refuted(evidence: Mapping[str, Mapping[str, Any]], name: str, level: float) -> bool:
    if name not in evidence:
        return False
    return CalibrationEvidence.from_document(evidence[name]).rejects(level)


def _judged(
    study: Study,
    reference: Reference,
    now: Sequence[Outcomes],
    sites: tuple[str, ...],
    evidence: Mapping[str, Mapping[str, Any]],
    model: Mapping[str, Any],
    rules: VerdictRules,
) -> Measured:
    """Judge windows of the sites that are named because they refute the model, else of all."""
    calm = performance(now)
    nothing = Measured(Harm("none", _figures(calm, evidence), sentences=(_calm(calm),)))
    if not sites and not _refuted(evidence, TOGETHER, rules.harm_alpha):
        return nothing
    onset = find_onset(now, mean_score(reference))
    since = [each for each in now if each.start >= onset.start]
    before = outcomes_of(reference, reference.blocks)
    recent, changes = performance(since), effect_changes(study, before, since, model)
    cause = _cause(recent, performance(before), changes, onset, rules)
    if cause == "none":
        return nothing
    # An effect that changed shows when its feature is there: weeks without are no end of it.
    passed = None if cause == "concept" else _passed(reference, now, evidence, rules)
    if passed is not None:
        return passed
    sentences = tuple(_sentences(recent, changes, onset, cause, sites))
    return Measured(Harm("measured", _figures(recent, evidence), onset.start, sentences), cause)


def _passed(
    reference: Reference,
    now: Sequence[Outcomes],
    evidence: Mapping[str, Mapping[str, Any]],
    rules: VerdictRules,
) -> Measured | None:
    """No harm any more, where outcomes have been as expected since an episode.

    What is fitted to an episode, such as a heat wave, is wrong as soon as that is over.
    """
    episode = find_episode(now, mean_score(reference))
    if episode is None:
        return None
    since = performance([each for each in now if each.start >= episode.end])
    if max(since.observed, since.expected) < rules.least_events or not _untouched(since, rules):
        return None
    then = performance([each for each in now if episode.start <= each.start < episode.end])
    said = (
        f"from {episode.start:%Y-%m-%d} to {episode.end:%Y-%m-%d} {then.observed:,.0f} events came "
        f"where {then.expected:,.0f} were expected: that has passed, and since then there were "
        f"{since.observed:,.0f} for {since.expected:,.0f}"
    )
    return Measured(Harm("none", _figures(since, evidence), sentences=(said,)))


def _cause(
    recent: Performance,
    usual: Performance,
    changes: Sequence[EffectChange],
    onset: Onset,
    rules: VerdictRules,
) -> Cause:
    """What has changed between score and outcome; none where it is too little to matter."""
    if max(recent.observed, recent.expected) < rules.least_events:
        return "none"
    if (changes and changes[0].p_value < _SURE) or _ranks_worse(recent, usual, rules):
        return "concept"
    if _slope_is_off(recent, rules):
        return "calibration"
    ratio = recent.ratio or 0.0
    if 1 / rules.observed_expected < ratio < rules.observed_expected:
        return "none"
    return "ageing" if onset.gradual else "prevalence"


def _ranks_worse(recent: Performance, usual: Performance, rules: VerdictRules) -> bool:
    """Whether the AUROC falls short of its promise by more than in training, and surely so."""
    if recent.auroc_short is None or not recent.auroc_error:
        return False
    loss = recent.auroc_short - (usual.auroc_short or 0.0)
    return loss >= rules.auroc_loss and loss > _Z99 * recent.auroc_error


def _slope_is_off(recent: Performance, rules: VerdictRules) -> bool:
    if recent.slope is None or not recent.slope_error:
        return False
    off = abs(recent.slope - 1.0)
    return off >= rules.slope and off > _Z99 * recent.slope_error


def _figures(
    figures: Performance, evidence: Mapping[str, Mapping[str, Any]]
) -> dict[str, float | None]:
    e_value = None
    if TOGETHER in evidence:
        e_value = CalibrationEvidence.from_document(evidence[TOGETHER]).e_value
    return {
        "rows": figures.rows,
        "events": figures.observed,
        "expected": figures.expected,
        "observed_expected": figures.ratio,
        "calibration_slope": figures.slope,
        "auroc": figures.auroc,
        "promised_auroc": figures.promised_auroc,
        "e_value": e_value,
    }


def _too_few(figures: Performance) -> str:
    if not figures.rows:
        return "no matured window has its labels, so nothing is known of the model's performance"
    return (
        f"{figures.observed:,.0f} events in {figures.rows:,.0f} matured rows are too few to judge "
        "the model's performance"
    )


def _calm(figures: Performance) -> str:
    return (
        f"matured labels show no harm: {figures.observed:,.0f} events, {figures.expected:,.0f} "
        f"expected, AUROC {_number(figures.auroc)} of {_number(figures.promised_auroc)} promised"
    )


def _sentences(
    recent: Performance,
    changes: Sequence[EffectChange],
    onset: Onset,
    cause: Cause,
    sites: tuple[str, ...],
) -> list[str]:
    where = f" at {', '.join(sites)}" if sites else ""
    limits = recent.ratio_limits or (0.0, 0.0)
    said = [
        f"since {onset.start:%Y-%m-%d}{where} {recent.observed:,.0f} events came where "
        f"{recent.expected:,.0f} were expected: a ratio of {_number(recent.ratio)} "
        f"({limits[0]:.2f} to {limits[1]:.2f})",
        f"calibration slope {_number(recent.slope)}; AUROC {_number(recent.auroc)} where the "
        f"scores promise {_number(recent.promised_auroc)}",
    ]
    if cause == "concept" and changes and changes[0].p_value < _SURE:
        sure = changes[0]
        times = f", {sure.times:.1f} times the model's" if sure.times is not None else ""
        said.append(
            f"weeks with more {sure.feature} have more events than expected for it{times}: its "
            f"effect seems to have changed (p = {sure.p_value:.2g})"
            if sure.change > 0
            else f"weeks with more {sure.feature} have fewer events than expected for it{times}: "
            f"its effect seems to have changed (p = {sure.p_value:.2g})"
        )
    if cause == "ageing":
        said.append("the departure grew from window to window: the model ages")
    return said


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def overdue() -> str:
    """That labels which are due are not there."""
    return "labels are overdue: windows whose labels are all due lack most of them"
