"""Label shift: how common events are in a window without labels, if nothing but that changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import erfc, sqrt
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedrisk.detectors.detector import LEAST_ROWS, About, CountDetector, require_same_study
from fedrisk.detectors.score_bins import bin_risks
from fedrisk.profiles import Profile
from fedrisk.study.records import FloatArray

#: Groups of score bins, equally large in the reference, in which the mixture is held to the scores.
GROUPS = 10
#: Chance below which scores are no mixture of the reference's, and the population stability index
#: between scores and mixture below which that is no matter.
LEAST_P, SMALL_REST = 0.01, 0.02
#: Standard error of the log odds ratio, where labels did not shift, beyond which no distance is
#: told: of rare events, hardly told apart, a season's mean score alone makes odds of several times.
LARGEST_ERROR = 0.5
#: Mean of the absolute value of a standard normal number.
_HALF_NORMAL = (2 / np.pi) ** 0.5


@dataclass(frozen=True)
class LabelShiftEstimate:
    """The estimate, and whether its assumption is in keeping with the scores.

    Attributes
    ----------
    prevalence, standard_error : float
        Share of events among the current rows, 0 to 1.
    reference_prevalence : float
    log_odds_ratio, log_odds_ratio_error : float
        Of the current prevalence against the reference's.
    rest : float
        Population stability index between the scores and the mixture that fits them best.
    p_value : float
        Chance of such a rest where rows are independent and labels alone shifted.
    holds : bool
        Whether label shift explains the scores; not, that nothing else could.
    sentence : str
    """

    prevalence: float
    standard_error: float
    reference_prevalence: float
    log_odds_ratio: float
    log_odds_ratio_error: float
    rest: float
    p_value: float
    holds: bool
    sentence: str

    def document(self) -> dict[str, Any]:
        """The estimate as JSON values."""
        return asdict(self)


class LabelShift(CountDetector):
    r"""Change of the log-odds of an event that the scores' shift amounts to, without labels.

    Where ``p(x | y)`` is as in the reference, the current scores are a mixture of the reference's
    scores of events and of others, and the mean risk tells the share

    .. math:: \pi = (\bar s - \mu_0) / (\mu_1 - \mu_0)

    of means of current scores, of the reference's others and of its events: black box shift
    estimation (Lipton, Wang and Smola, ICML 2018) with the risk for the classifier's answer, one
    equation for two classes. Less the mean that sampling noise gives the absolute value. None where
    the reference has too few events, or scores tell them apart too little for the rows there are:
    of a disease of 3 % and an AUROC of .75 that takes some 4,000 rows a window.
    """

    name = "label_shift"
    title = "Label shift"
    about: ClassVar[About] = "labels"
    matters = 0.3
    one_cell: ClassVar[bool] = False

    def cells(self, profile: Profile, subject: str) -> FloatArray:  # noqa: ARG002 there is one
        """Scores, labelled rows and events by score bin, one after the other, ``(582,)``."""
        return np.concatenate([profile.scores, profile.labelled, profile.events])

    def distances(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """Absolute log odds ratio, less its mean under sampling noise; NaN of too few rows."""
        prevalence, error, before, unshifted = _mixture(reference, current)
        ratio, ratio_error = _log_odds_ratio(prevalence, error, before)
        told = unshifted / (before * (1 - before)) <= LARGEST_ERROR
        ratio_error = np.where(told, ratio_error, np.nan)
        found: FloatArray = np.abs(ratio) - _HALF_NORMAL * ratio_error
        return found

    def noise(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """The mean of the absolute log odds ratio under sampling noise."""
        prevalence, error, before, _ = _mixture(reference, current)
        _, ratio_error = _log_odds_ratio(prevalence, error, before)
        noise: FloatArray = _HALF_NORMAL * ratio_error
        return noise

    def explain(self, distance: float, subject: str) -> str:
        """A distance in a sentence."""
        return (
            f"The scores' shift amounts to odds of an event {np.exp(abs(distance)):.2f} times "
            f"apart, if the {subject} alone shifted (from {np.exp(self.matters):.2f} on it matters)"
        )


def estimate_label_shift(reference: Profile, current: Profile) -> LabelShiftEstimate | None:
    """Prevalence of a window without labels, and whether label shift explains its scores.

    Parameters
    ----------
    reference : Profile
        With labelled rows, scored by the same model.
    current : Profile
        With scores; its labels are not looked at.

    Returns
    -------
    LabelShiftEstimate or None
        None where rows or events are too few, or the scores do not tell events from others.

    Raises
    ------
    StudyError
        When the profiles are of different studies.
    """
    require_same_study(reference, current)
    cells = LabelShift().cells
    given = (cells(reference, "labels"), cells(current, "labels"))
    prevalence, error, before, _ = (float(part) for part in _mixture(*given))
    if np.isnan(error):
        return None
    ratio, ratio_error = (float(part) for part in _log_odds_ratio(prevalence, error, before))
    rest, p_value = _rest(reference, current, prevalence)
    holds = p_value >= LEAST_P or rest <= SMALL_REST
    return LabelShiftEstimate(
        prevalence=prevalence,
        standard_error=error,
        reference_prevalence=before,
        log_odds_ratio=ratio,
        log_odds_ratio_error=ratio_error,
        rest=rest,
        p_value=p_value,
        holds=holds,
        sentence=_sentence(prevalence, error, before, rest, holds=holds),
    )


def _sentence(prevalence: float, error: float, before: float, rest: float, *, holds: bool) -> str:
    if holds:
        return (
            f"If events alone became more or less common, {prevalence:.2%} (give or take "
            f"{2 * error:.2%}) of the current rows have one, against {before:.2%} in the "
            f"reference; the scores are in keeping with that"
        )
    return (
        f"The scores are no mixture of the reference's scores of events and of others (a stability "
        f"index of {rest:.3f} is left): it was not the labels alone that shifted, and a prevalence "
        f"of {prevalence:.2%} does not follow"
    )


def _mixture(
    reference: FloatArray, current: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Prevalence, its standard error, the reference's prevalence, and the error if it is that.

    All are NaN where they are not determined.
    """
    risks = bin_risks()
    _, labelled, events = np.split(reference, 3, axis=-1)
    scores = np.split(current, 3, axis=-1)[0]
    mean, error, _ = _mean(scores, risks)
    mean1, error1, n1 = _mean(events, risks)
    mean0, error0, n0 = _mean(labelled - events, risks)
    apart = mean1 - mean0
    # Scores that hardly tell events from others divide by next to nothing.
    apart = np.where(apart > 4 * np.hypot(error1, error0), apart, np.nan)
    share = np.clip((mean - mean0) / apart, 0.0, 1.0)
    before = n1 / (n1 + n0)

    def noise(at: FloatArray) -> FloatArray:
        return np.sqrt(error**2 + (at * error1) ** 2 + ((1 - at) * error0) ** 2) / apart

    return share, noise(share), before, noise(before)


def _mean(counts: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean, its standard error and the rows of binned values; NaN below `LEAST_ROWS`."""
    total = counts.sum(axis=-1)
    rows = np.where(total >= LEAST_ROWS, total, np.nan)
    mean = counts @ values / rows
    variance = np.maximum(counts @ values**2 / rows - mean**2, 0.0)
    return mean, np.sqrt(variance / rows), rows


def _log_odds_ratio(
    prevalence: FloatArray | float, error: FloatArray | float, before: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """Log odds ratio and its error; a share at its end is taken half a standard error inside."""
    inside = np.clip(prevalence, np.asarray(error) / 2, 1 - np.asarray(error) / 2)
    inside = np.clip(inside, 1e-6, 1 - 1e-6)
    ratio = np.log(inside / (1 - inside)) - np.log(before / (1 - np.asarray(before)))
    return ratio, error / (inside * (1 - inside))


def _rest(reference: Profile, current: Profile, prevalence: float) -> tuple[float, float]:
    """What the best mixture leaves: stability index and chi-square p-value over groups of bins."""
    group = _groups(reference.labelled)

    def grouped(counts: FloatArray) -> FloatArray:
        found = np.bincount(group, weights=counts, minlength=int(group.max()) + 1)
        return found.astype(np.float64)

    of_events, of_others, found = (
        grouped(counts)
        for counts in (reference.events, reference.labelled - reference.events, current.scores)
    )
    n1, n0, rows = of_events.sum(), of_others.sum(), found.sum()
    p1, p0 = of_events / n1, of_others / n0
    mixed = prevalence * p1 + (1 - prevalence) * p0
    noise = mixed / rows + prevalence**2 * p1 / n1 + (1 - prevalence) ** 2 * p0 / n0
    shares = found / rows
    statistic = float(np.sum((shares - mixed) ** 2 / np.maximum(noise, 1e-12)))
    # Half a row stands for none, where a logarithm would be infinite.
    soft = (np.maximum(shares, 0.5 / rows), np.maximum(mixed, 0.5 / rows))
    index = float(np.sum((soft[0] - soft[1]) * np.log(soft[0] / soft[1])))
    return index, chi_square_tail(statistic, max(len(mixed) - 2, 1))


def _groups(counts: FloatArray) -> NDArray[np.int64]:
    """Group of each bin, from 0: about `GROUPS` with equally many of the reference's rows."""
    below = np.cumsum(counts) - counts / 2
    raw = np.minimum((below / counts.sum() * GROUPS).astype(np.int64), GROUPS - 1)
    _, found = np.unique(raw, return_inverse=True)
    return np.asarray(found, np.int64)


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Chance of a larger chi-square, by Wilson and Hilferty's cube root (PNAS 1931;17:684).

    >>> round(chi_square_tail(15.51, 8), 3)
    0.05
    """
    spread = 2 / (9 * freedom)
    z = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / sqrt(spread)
    return 0.5 * erfc(z / sqrt(2))
