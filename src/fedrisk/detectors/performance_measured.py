"""Measured performance: what mature labels of a window say about the model, with confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedrisk.detectors.score_bins import bin_logits, bin_risks
from fedrisk.errors import StudyError
from fedrisk.models.logistic import Z95, expit
from fedrisk.models.metrics import binned_auroc, calibration
from fedrisk.profiles import Profile
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study.records import FloatArray


@dataclass(frozen=True)
class Figure:
    """A figure with its standard error and 95 % interval; all None where rows do not tell it."""

    value: float | None = None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None

    def excludes(self, value: float) -> bool:
        """Whether the interval lies on one side of a value; an unknown figure excludes nothing."""
        if self.low is None or self.high is None:
            return False
        return not self.low <= value <= self.high


@dataclass(frozen=True)
class MeasuredPerformance:
    """What labelled rows say.

    Intervals take the outcomes of different rows as independent given their scores and are wider
    by the square root of ``dispersion``.

    Attributes
    ----------
    rows, events, expected : float
        Labelled rows, events among them, events that the scores add up to.
    auroc : Figure
        DeLong's interval, ties within a score bin half (`fedrisk.models.metrics.binned_auroc`).
    observed_expected : Figure
        Wilson's interval for the observed share, over the expected one.
    slope, in_the_large : Figure
        Calibration slope, and the log-odds that the scores are off by (Van Calster et al., J Clin
        Epidemiol 2016;74:167).
    brier : Figure
    brier_expected : float
        Of the same rows if the scores were right: what is above it is harm by the model, and not by
        a season with more events.
    dispersion : float
    """

    rows: float
    events: float
    expected: float
    auroc: Figure
    observed_expected: Figure
    slope: Figure
    in_the_large: Figure
    brier: Figure
    brier_expected: float
    dispersion: float

    def document(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return asdict(self)


def measure(profile: Profile, dispersion: float = 1.0) -> MeasuredPerformance | None:
    """Figures of a profile's labelled rows; None where it has none.

    Parameters
    ----------
    profile : Profile
    dispersion : float
        How many times more the observed events vary than independent outcomes would, at least 1:
        `dispersion_of` the reference's blocks.

    Raises
    ------
    StudyError
        When a score bin has more events than labelled rows.

    Examples
    --------
    >>> from fedrisk.profiles import Profile
    >>> rows, events = np.zeros(194), np.zeros(194)
    >>> rows[[60, 90]], events[[60, 90]] = 1000.0, [20.0, 400.0]
    >>> window = Profile("study", 2000.0, {}, {}, {}, rows, {}, rows, events)
    >>> found = measure(window)
    >>> round(found.observed_expected.value, 2), found.observed_expected.excludes(1.0)
    (1.32, True)
    """
    rows, events = profile.labelled, profile.events
    if not rows.sum():
        return None
    if (events > rows).any() or (events < 0).any():
        raise StudyError("a window has more events than labelled rows in a score bin")
    wider = max(dispersion, 1.0) ** 0.5
    slope, shift = _calibration(rows, events, wider)
    return MeasuredPerformance(
        rows=float(rows.sum()),
        events=float(events.sum()),
        expected=float(rows @ bin_risks()),
        auroc=_auroc(events, rows, wider),
        observed_expected=_observed_expected(rows, events, wider),
        slope=slope,
        in_the_large=shift,
        brier=_brier(rows, events, wider),
        brier_expected=float(rows @ (bin_risks() * (1 - bin_risks())) / rows.sum()),
        dispersion=max(dispersion, 1.0),
    )


def measure_by_site(
    windows: Sequence[SiteWindow], dispersion: Mapping[str, float] | None = None
) -> dict[str, MeasuredPerformance]:
    """Figures of every site's labelled rows over its windows; sites without labels are left out."""
    totals: dict[str, Profile] = {}
    for window in windows:
        before = totals.get(window.site)
        totals[window.site] = window.profile if before is None else before + window.profile
    wider = dispersion or {}
    found = {site: measure(total, wider.get(site, 1.0)) for site, total in totals.items()}
    return {site: figures for site, figures in found.items() if figures is not None}


def dispersion_of(blocks: Sequence[Profile]) -> float:
    """How many times more events vary from block to block than independent outcomes would.

    Pearson's statistic over its degrees of freedom (McCullagh and Nelder, Generalized Linear
    Models, 1989, 4.5) against each bin's risk, scaled to the blocks' own total; at least 1, and 1
    of fewer than 6 blocks with labels.
    """
    risks = bin_risks()
    given = [block for block in blocks if block.labelled.any()]
    if len(given) < 6:
        return 1.0
    rows = np.array([block.labelled for block in given])
    observed = np.array([block.events for block in given]).sum(axis=1)
    expected, variance = rows @ risks, rows @ (risks * (1 - risks))
    scale = observed.sum() / expected.sum()
    statistic = np.sum((observed - scale * expected) ** 2 / np.maximum(scale * variance, 1e-12))
    return max(1.0, float(statistic) / (len(given) - 1))


def _figure(value: float | None, error: float | None, low: float, high: float) -> Figure:
    """A normal interval within what the figure can be."""
    if value is None or error is None or not np.isfinite(error):
        return Figure(value)
    ends = (max(low, value - Z95 * error), min(high, value + Z95 * error))
    return Figure(value, error, *ends)


def _auroc(events: FloatArray, rows: FloatArray, wider: float) -> Figure:
    found = binned_auroc(events, rows)
    if found is None:
        return Figure()
    # Of a single event DeLong's variance is not known, and of perfect separation it is zero.
    known = min(events.sum(), (rows - events).sum()) > 1 and found[1] > 0
    return _figure(found[0], found[1] * wider if known else None, 0.0, 1.0)


def _observed_expected(rows: FloatArray, events: FloatArray, wider: float) -> Figure:
    """Wilson's interval (J Am Stat Assoc 1927;22:209): also of no event at all."""
    total, expected = float(rows.sum()), float(rows @ bin_risks())
    size, observed = total / wider**2, float(events.sum())
    share, z2 = observed / total, Z95**2
    middle = (share + z2 / (2 * size)) / (1 + z2 / size)
    half = Z95 / (1 + z2 / size) * np.sqrt(share * (1 - share) / size + z2 / (4 * size**2))
    error = float(np.sqrt(share * (1 - share) / size)) * total / expected
    factor = total / expected
    ends = (max(0.0, float(middle - half)) * factor, float(middle + half) * factor)
    return Figure(observed / expected, error, *ends)


def _calibration(rows: FloatArray, events: FloatArray, wider: float) -> tuple[Figure, Figure]:
    """Slope with its intercept free, and the shift with a slope of 1; errors by the information."""
    logits = bin_logits()
    slope, shift = calibration(logits * rows, rows, events)
    if slope is None:
        error = None
    else:
        _, intercept = calibration(slope * logits * rows, rows, events)
        weights = _weights(rows, (intercept or 0.0) + slope * logits)
        centred = logits - weights @ logits / weights.sum()
        error = wider / float(np.sqrt(max(weights @ centred**2, 1e-300)))
    shift_error = (
        None if shift is None else wider / float(np.sqrt(_weights(rows, shift + logits).sum()))
    )
    return _figure(slope, error, -np.inf, np.inf), _figure(shift, shift_error, -np.inf, np.inf)


def _weights(rows: FloatArray, logits: FloatArray) -> FloatArray:
    risks = expit(logits)
    weights: FloatArray = rows * risks * (1 - risks)
    return weights


def _brier(rows: FloatArray, events: FloatArray, wider: float) -> Figure:
    risks, total = bin_risks(), float(rows.sum())
    of_events, of_others = (1 - risks) ** 2, risks**2
    mean = float(of_events @ events + of_others @ (rows - events)) / total
    square = float(of_events**2 @ events + of_others**2 @ (rows - events)) / total
    error = np.sqrt(max(square - mean**2, 0.0) / max(total - 1, 1.0)) if total > 1 else None
    return _figure(mean, None if error is None else float(error) * wider, 0.0, 1.0)
