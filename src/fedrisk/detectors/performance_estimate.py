"""Estimated performance: what scores alone say about the model, and whether they may.

Confidence-based performance estimation: where a score of 0.2 still means that 2 in 10 have an
event, the scores of a window tell how many events are expected in each bin, and with them AUROC,
Brier score and prevalence, before any label is mature (Garg et al., ICLR 2022, on what can be known
without labels; NannyML's CBPE; Bialek et al., arXiv:2401.08348, on its error).

It can see a population that became harder to tell apart. It cannot see a change of what a score
means, which is what harms most, so an estimate comes with its conditions, checked as far as they
can be. An estimate whose conditions do not hold is no evidence of harm, nor of its absence.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedrisk.detectors.detector import LEAST_ROWS, require_same_study
from fedrisk.detectors.label_shift import LabelShiftEstimate, estimate_label_shift
from fedrisk.detectors.performance_measured import measure
from fedrisk.detectors.score_bins import bin_logits, bin_risks
from fedrisk.models.logistic import expit
from fedrisk.models.metrics import binned_auroc, calibration
from fedrisk.profiles import Profile
from fedrisk.study.records import FloatArray

#: Fewest events of the reference that its calibration is judged by.
LEAST_EVENTS = 50
#: Observed over expected, as a factor, within a third of the scores that is still calibrated.
CALIBRATED = 1.25
#: Score bins on either side, and labelled reference rows within them, that support a score.
NEAR, SUPPORTING = 4, 20
#: Share of the current rows that may lie where the reference has no support.
UNSUPPORTED = 0.05
#: E-value from which on the evidence is against calibration: 1 / alpha of 5 %.
AGAINST = 20.0
#: Factor between the prevalences that covariate shift and label shift give, from which on it
#: matters which of them it was.
AMBIGUOUS = 1.25


@dataclass(frozen=True)
class Condition:
    """One thing that the estimate rests on.

    Attributes
    ----------
    name : str
        ``calibrated``, ``supported``, ``labels agree``, ``no evidence against`` or ``not labels``.
    holds : bool or None
        None where it cannot be told.
    sentence : str
    """

    name: str
    holds: bool | None
    sentence: str


@dataclass(frozen=True)
class EstimatedPerformance:
    """Performance of the current rows, if the conditions hold.

    Attributes
    ----------
    rows : float
        Scored rows.
    auroc, auroc_error : float or None
        With DeLong's error at the expected counts; that of the calibration is not in it.
    reference_auroc : float or None
        Estimated in the same way from the reference's scores: what to compare with.
    brier, prevalence : float
    conditions : tuple of Condition
    """

    rows: float
    auroc: float | None
    auroc_error: float | None
    reference_auroc: float | None
    brier: float
    prevalence: float
    conditions: tuple[Condition, ...]

    @property
    def holds(self) -> bool | None:
        """Whether the estimate may be relied on: no condition fails; None where one is open."""
        found = {condition.holds for condition in self.conditions}
        if False in found:
            return False
        return None if None in found else True

    @property
    def auroc_loss(self) -> float | None:
        """Fall of the estimated AUROC from the reference's; negative is a rise."""
        if self.auroc is None or self.reference_auroc is None:
            return None
        return self.reference_auroc - self.auroc

    @property
    def failures(self) -> tuple[str, ...]:
        """Sentences of the conditions that do not hold."""
        return tuple(each.sentence for each in self.conditions if each.holds is False)

    def document(self) -> dict[str, Any]:
        """The estimate as JSON values."""
        return asdict(self) | {"holds": self.holds, "auroc_loss": self.auroc_loss}


def estimate_performance(
    reference: Profile, current: Profile, e_value: float | None = None
) -> EstimatedPerformance | None:
    """Estimate the performance of a window's scores without its labels.

    Scores are read with the reference's own calibration: a logistic recalibration on its labelled
    rows, where it has events enough.

    Parameters
    ----------
    reference : Profile
        Scored by the same model; with labels, if calibration is to be checked.
    current : Profile
        With scores; what labels it has are compared with the expectation.
    e_value : float, optional
        Evidence against calibration so far (`fedrisk.detectors.sequential.CalibrationEvidence`).

    Returns
    -------
    EstimatedPerformance or None
        None where the current window has too few scores.

    Raises
    ------
    StudyError
        When the profiles are of different studies.
    """
    require_same_study(reference, current)
    rows = float(current.scores.sum())
    if rows < LEAST_ROWS:
        return None
    risks = _calibrated_risks(reference)
    found = binned_auroc(current.scores * risks, current.scores)
    before = binned_auroc(reference.scores * risks, reference.scores)
    prevalence = float(current.scores @ risks) / rows
    shifted = estimate_label_shift(reference, current)
    return EstimatedPerformance(
        rows=rows,
        auroc=None if found is None else found[0],
        auroc_error=None if found is None else found[1],
        reference_auroc=None if before is None else before[0],
        brier=float(current.scores @ (risks * (1 - risks))) / rows,
        prevalence=prevalence,
        conditions=(
            _calibrated(reference, risks),
            _supported(reference, current),
            _labels_agree(current),
            _no_evidence(e_value),
            _not_labels(shifted, prevalence),
        ),
    )


def _calibrated_risks(reference: Profile) -> FloatArray:
    """Risk that each score bin stands for, by the reference's labelled rows."""
    if reference.events.sum() < LEAST_EVENTS:
        return bin_risks()
    logits, rows, events = bin_logits(), reference.labelled, reference.events
    slope, _ = calibration(logits * rows, rows, events)
    if slope is None:
        return bin_risks()
    _, intercept = calibration(slope * logits * rows, rows, events)
    return bin_risks() if intercept is None else expit(intercept + slope * logits)


def _calibrated(reference: Profile, risks: FloatArray) -> Condition:
    """Observed over expected in each third of the reference's events."""
    name = "calibrated"
    total = float(reference.events.sum())
    if total < LEAST_EVENTS:
        what = f"the reference has {total:.0f} events, too few to tell whether scores are risks"
        return Condition(name, None, what)
    expected = reference.labelled * risks
    third = np.minimum((3 * np.cumsum(expected) / expected.sum()).astype(np.int64), 2)
    of_thirds = [
        np.bincount(third, weights=part, minlength=3) for part in (reference.events, expected)
    ]
    observed, hoped = (np.maximum(part, 0.5) for part in of_thirds)
    off = np.abs(np.log(observed / hoped)) - 2 / np.sqrt(hoped)
    worst = int(np.argmax(off))
    ratio = float(observed[worst] / hoped[worst])
    place = ("low", "middle", "high")[worst]
    holds = bool(off[worst] <= np.log(CALIBRATED))
    verb = "are" if holds else "are no"
    told = f"the reference's scores {verb} risks: at worst {ratio:.2f} events an expected one"
    told = f"{told}, among {place} scores"
    return Condition(name, holds, told)


def _supported(reference: Profile, current: Profile) -> Condition:
    name = "supported"
    if not reference.labelled.any():
        return Condition(name, None, "the reference has no labelled rows to support a score")
    near = np.convolve(reference.labelled, np.ones(2 * NEAR + 1), mode="same")
    share = float(current.scores[near < SUPPORTING].sum() / current.scores.sum())
    told = f"{share:.1%} of the current scores lie where the reference has hardly a labelled row"
    return Condition(name, share <= UNSUPPORTED, told)


def _labels_agree(current: Profile) -> Condition:
    """What is labelled already against the expectation."""
    name = "labels agree"
    measured = measure(current)
    if measured is None or measured.expected < 10:
        return Condition(name, None, "too few current labels are mature to hold the scores to them")
    found = measured.observed_expected
    low, high = found.low or 0.0, found.high or np.inf
    holds = low <= CALIBRATED and high >= 1 / CALIBRATED
    told = (
        f"observed/expected of the labels there are is {found.value:.2f} ({low:.2f} to {high:.2f})"
    )
    return Condition(name, holds, told)


def _no_evidence(e_value: float | None) -> Condition:
    name = "no evidence against"
    if e_value is None:
        return Condition(name, None, "earlier windows were not held to their labels")
    told = (
        f"the evidence of earlier labels against the scores is {e_value:.3g} (against: {AGAINST:g})"
    )
    return Condition(name, e_value < AGAINST, told)


def _not_labels(shifted: LabelShiftEstimate | None, prevalence: float) -> Condition:
    """Where label shift explains the scores as well, and says something else, nobody can tell."""
    name = "not labels"
    if shifted is None:
        return Condition(name, None, "the reference cannot tell a shift of the labels from others")
    apart = abs(np.log(max(shifted.prevalence, 1e-6) / prevalence))
    noise = 2 * shifted.standard_error / max(shifted.prevalence, 1e-6)
    if not shifted.holds:
        return Condition(
            name, True, "the labels alone did not shift: the scores are no such mixture"
        )
    if apart - noise <= np.log(AMBIGUOUS) < apart + noise:
        told = "what prevalence a shift of the labels alone would give is too uncertain"
        return Condition(name, None, told)
    if apart + noise <= np.log(AMBIGUOUS):
        told = "a shift of the labels alone would give about the same prevalence"
        return Condition(name, True, told)
    told = (
        f"the scores are in keeping with a shift of the labels alone, too: then "
        f"{shifted.prevalence:.2%} have an event and not {prevalence:.2%}, and a score does not "
        f"mean what it did"
    )
    return Condition(name, False, told)
