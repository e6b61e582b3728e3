"""What is beyond chance in windows: distances held against the reference's blocks, one batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import atan, pi, tan

from fedrisk.detectors import DETECTORS, Detector
from fedrisk.detectors.calibration import Calibration
from fedrisk.detectors.calibration import Finding as Look
from fedrisk.detectors.covariance_shift import CovarianceShift, changed_pairs
from fedrisk.detectors.false_discovery import FalseDiscovery
from fedrisk.monitoring.finding import Finding, WindowRecord
from fedrisk.monitoring.quality import Fault
from fedrisk.profiles.profile import Profile
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.seasons import Season
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study import Study

#: A p-value near one says nothing more than this, so that it cannot hide a small one beside it.
_LARGEST_P = 0.95
_SMALLEST_P = 1e-15


@dataclass
class Baseline:
    """The reference as windows are compared with it.

    Parameters
    ----------
    study : Study
    calibration : Calibration
        Of the champion's reference; what it has worked out serves later judgements too.
    """

    study: Study
    calibration: Calibration

    @property
    def reference(self) -> Reference:
        return self.calibration.reference

    @cached_property
    def detectors(self) -> Mapping[str, tuple[Detector, ...]]:
        """By subject, who looks at it; detectors of labels speak of harm, not of drift."""
        by_subject: dict[str, list[Detector]] = defaultdict(list)
        for detector in DETECTORS.values():
            if detector.about != "labels":
                for subject in detector.subjects(self.study):
                    by_subject[subject].append(detector)
        return {subject: tuple(looking) for subject, looking in by_subject.items()}

    def profile(self, site: str, season: Season | None = None) -> Profile:
        """The reference's rows of a site and season, of all sites for a site that it lacks."""
        return self.reference.of(site if site in self.reference.sites else None, season)


def examine(
    baseline: Baseline,
    windows: Sequence[SiteWindow],
    faults: Sequence[tuple[Fault, ...]],
    discoveries: FalseDiscovery,
) -> tuple[list[WindowRecord], FalseDiscovery]:
    """Test windows that were not tested before, as one batch.

    Parameters
    ----------
    baseline : Baseline
    windows : sequence of SiteWindow
    faults : sequence of tuple of Fault
        Of each window; a column with a fault is not tested, nor what is made of all columns.
    discoveries : FalseDiscovery
        State of the stream.

    Returns
    -------
    records : list of WindowRecord
        Of each window, in order.
    discoveries : FalseDiscovery
        State after the batch.
    """
    looks = [_looks(baseline, w, f) for w, f in zip(windows, faults, strict=True)]
    combined = [{subject: _combined(seen) for subject, seen in each.items()} for each in looks]
    p_values = [p for each in combined for p in each.values() if p is not None]
    discoveries, found = discoveries.test(p_values)
    results = iter(found)
    records = []
    for window, seen, together, faulty in zip(windows, looks, combined, faults, strict=True):
        findings = []
        for subject, each in seen.items():
            p_value = together[subject]
            result = None if p_value is None else next(results)
            loud = _loudest(each)
            is_found = result is not None and result.found and _effect(loud) >= 1.0
            findings.append(
                Finding(
                    subject=subject,
                    detector=loud.detector,
                    statistic=loud.distance or 0.0,
                    effect=_effect(loud),
                    p_value=p_value,
                    q_value=None if result is None else result.q_value,
                    found=is_found,
                    sentence=_sentence(loud) + (_pair(baseline, window, loud) if is_found else ""),
                )
            )
        records.append(_record(baseline, window, faulty, tuple(findings), looks=seen))
    return records, discoveries


def _looks(
    baseline: Baseline, window: SiteWindow, faults: Iterable[Fault]
) -> dict[str, list[Look]]:
    """By subject, what each detector sees in a window, as far as rows suffice."""
    broken = {fault.subject for fault in faults}
    seen: dict[str, list[Look]] = {}
    for subject, detectors in baseline.detectors.items():
        if subject in broken or (broken and subject not in baseline.study.feature_names):
            continue
        looks = [baseline.calibration.finding(each, window, subject) for each in detectors]
        looks = [look for look in looks if look.distance is not None]
        if looks:
            seen[subject] = looks
    return seen


def _combined(looks: Sequence[Look]) -> float | None:
    """One p-value of several detectors of the same subject; None where none has one.

    Cauchy combination (Liu and Xie, JASA 2020;115:393): valid however they depend on each other,
    but for p-values near one, which are held back (Fang et al., Statistica Sinica 2023;33:1).
    """
    p_values = [look.p_value for look in looks if look.p_value is not None]
    if not p_values:
        return None
    held = [min(max(p, _SMALLEST_P), _LARGEST_P) for p in p_values]
    mean = sum(tan((0.5 - p) * pi) for p in held) / len(held)
    return 0.5 - atan(mean) / pi


def _effect(look: Look) -> float:
    """Distance beyond the typical one, in units of the least that matters."""
    if look.effect is not None:
        return look.effect
    return (look.distance or 0.0) / DETECTORS[look.detector].matters


def _loudest(looks: Sequence[Look]) -> Look:
    """The look that shows best what is found: of an effect that matters, the least p-value."""

    def rank(look: Look) -> tuple[bool, float, float]:
        p = 1.0 if look.p_value is None else look.p_value
        return _effect(look) >= 1.0, -p, _effect(look)

    return max(looks, key=rank)


def _sentence(look: Look) -> str:
    said = DETECTORS[look.detector].explain(look.distance or 0.0, look.subject)
    if look.typical is not None:
        said += f", {look.typical:.3g} being usual"
    return said if look.against == "same season" else f"{said} (against the {look.against})"


def _pair(baseline: Baseline, window: SiteWindow, look: Look) -> str:
    """Which two features go together otherwise than in the season, if that was looked at."""
    if look.detector != CovarianceShift.name:
        return ""
    season = baseline.profile(window.site, window.season)
    found = changed_pairs(baseline.study, season, window.profile, most=1)
    if not found:
        return ""
    one, other = found[0].features
    return (
        f"; of all pairs the correlation of {one} and {other} changed most, from "
        f"{found[0].before:.2f} to {found[0].now:.2f}"
    )


def _record(
    baseline: Baseline,
    window: SiteWindow,
    faults: tuple[Fault, ...],
    findings: tuple[Finding, ...],
    looks: Mapping[str, Sequence[Look]],
) -> WindowRecord:
    year = baseline.profile(window.site)
    seasonal = []
    for finding in findings:
        detector = DETECTORS[finding.detector]
        distance = detector.distance(year, window.profile, finding.subject)
        if not finding.found and distance is not None and distance >= detector.matters:
            seasonal.append(finding.subject)
    against = {look.against for each in looks.values() for look in each}
    return WindowRecord(
        start=window.start,
        end=window.end,
        rows=window.profile.rows,
        faults=faults,
        findings=findings,
        seasonal=tuple(seasonal),
        unseen_season=bool(against) and "same season" not in against,
    )
