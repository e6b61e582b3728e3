"""How the champion does on matured rows, against what its own scores promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np

from fedrisk.detectors.score_bins import bin_logits, bin_risks
from fedrisk.models.logistic import Z95, expit
from fedrisk.models.metrics import binned_auroc, calibration
from fedrisk.monitoring.outcomes import Outcomes
from fedrisk.study.records import FloatArray


@dataclass(frozen=True)
class Performance:
    """Figures of some matured rows.

    Attributes
    ----------
    rows, observed, expected : float
        Events expected as the model fitted each site and season in training.
    slope, slope_error : float or None
        Of the outcome's log-odds on the score's, and its standard error; 1 is right.
    auroc, auroc_error : float or None
    promised_auroc : float or None
        What the AUROC of these rows is if every score is right: a narrower mix of people has a
        lower one, without any fault of the model's (van Klaveren et al., BMC Med Res Methodol
        2016;16:138).
    """

    rows: float
    observed: float
    expected: float
    slope: float | None
    slope_error: float | None
    auroc: float | None
    auroc_error: float | None
    promised_auroc: float | None

    @property
    def ratio(self) -> float | None:
        """Observed to expected; None where nothing is expected."""
        return self.observed / self.expected if self.expected > 0 else None

    @property
    def ratio_limits(self) -> tuple[float, float] | None:
        """95 % limits of `ratio`, on the log scale of a Poisson count; None without events."""
        if self.ratio is None or not self.observed:
            return None
        width = exp(Z95 / sqrt(self.observed))
        return self.ratio / width, self.ratio * width

    @property
    def auroc_short(self) -> float | None:
        """By how much the AUROC falls short of what is promised."""
        if self.auroc is None or self.promised_auroc is None:
            return None
        return self.promised_auroc - self.auroc


def performance(outcomes: Sequence[Outcomes]) -> Performance:
    """Figures of the rows of some windows together."""
    nothing = np.zeros_like(bin_logits())
    rows: FloatArray = np.sum([nothing, *(each.labelled for each in outcomes)], axis=0)
    events: FloatArray = np.sum([nothing, *(each.events for each in outcomes)], axis=0)
    slope, _ = calibration(bin_logits() * rows, rows, events)
    measured = binned_auroc(events, rows)
    promised = binned_auroc(rows * bin_risks(), rows)
    return Performance(
        rows=float(rows.sum()),
        observed=float(events.sum()),
        expected=float(rows @ bin_risks()),
        slope=slope,
        slope_error=None if slope is None else _slope_error(rows, events, slope),
        auroc=None if measured is None else measured[0],
        auroc_error=None if measured is None else measured[1],
        promised_auroc=None if promised is None else promised[0],
    )


def _slope_error(rows: FloatArray, events: FloatArray, slope: float) -> float | None:
    """From the information at the solution: its intercept makes expected events the observed."""
    logits, intercept = slope * bin_logits(), 0.0
    for _ in range(30):
        risk = expit(intercept + logits)
        step = (events.sum() - rows @ risk) / max(float(rows @ (risk * (1 - risk))), 1e-12)
        intercept += float(np.clip(step, -2.0, 2.0))
    weight = rows * expit(intercept + logits) * (1 - expit(intercept + logits))
    centre = float(weight @ bin_logits()) / float(weight.sum())
    information = float(weight @ (bin_logits() - centre) ** 2)
    return 1.0 / sqrt(information) if information > 0 else None
