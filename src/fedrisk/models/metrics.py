"""How good a model is, from sums that sites may send: discrimination, accuracy, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedrisk.models.bins import logit_edges
from fedrisk.models.logistic import expit
from fedrisk.study.records import BoolArray, FloatArray, Record, SumRecord, axes, total

#: Risks are kept this far from 0 and 1 in the log loss, as scikit-learn does with float64.
LOG_LOSS_FLOOR = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class EvaluationSums(SumRecord):
    """Sums over test rows, and counts on logit-score bins for the total alone."""

    NAME: ClassVar[str] = "evaluation_sums"

    rows: FloatArray = axes()
    events: FloatArray = axes()
    expected: FloatArray = axes()
    squared_error: FloatArray = axes()
    log_loss: FloatArray = axes()
    bin_events: FloatArray = axes("score_bins")
    bin_rows: FloatArray = axes("score_bins")
    bin_logits: FloatArray = axes("score_bins")


@dataclass(frozen=True)
class SiteEvaluation(Record):
    """A site's own figures on its test rows: it computes its AUROC and sends that, not its bins.

    ``defined`` is 1 where the site has both events and non-events, else 0 and the rest are 0.
    """

    NAME: ClassVar[str] = "site_evaluation"

    defined: FloatArray = axes()
    auroc: FloatArray = axes()
    auroc_standard_error: FloatArray = axes()


def evaluation_dimensions() -> dict[str, int]:
    """Length of each axis of `EvaluationSums`."""
    return {"score_bins": len(logit_edges()) + 1}


def evaluation_sums(logit: FloatArray, events: BoolArray) -> EvaluationSums:
    """Sum up one site's test rows, given their logit scores ``(rows,)``."""
    edges = logit_edges()
    outcome = events.astype(np.float64)
    risk = expit(logit)
    clipped = np.clip(risk, LOG_LOSS_FLOOR, 1 - LOG_LOSS_FLOOR)
    likelihood = np.where(events, np.log(clipped), np.log1p(-clipped))
    places = np.searchsorted(edges, logit, side="right")

    def binned(weights: FloatArray) -> FloatArray:
        return np.bincount(places, weights=weights, minlength=len(edges) + 1).astype(np.float64)

    return EvaluationSums(
        rows=total(len(logit)),
        events=total(outcome.sum()),
        expected=total(risk.sum()),
        squared_error=total(np.sum((risk - outcome) ** 2)),
        log_loss=total(-likelihood.sum()),
        bin_events=binned(outcome),
        bin_rows=binned(np.ones_like(logit)),
        bin_logits=binned(logit),
    )


def site_evaluation(logit: FloatArray, events: BoolArray) -> SiteEvaluation:
    """A site's AUROC with its DeLong standard error."""
    if not 0 < events.sum() < len(events):
        return SiteEvaluation(total(0), total(0), total(0))
    auroc, error = delong(logit, events)
    return SiteEvaluation(total(1), total(auroc), total(error))


def _midranks(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def delong(scores: FloatArray, events: BoolArray) -> tuple[float, float]:
    """AUROC and its standard error (DeLong, DeLong, Clarke-Pearson, Biometrics 1988;44:837).

    Computed by midranks in O(n log n): Sun and Xu, IEEE Signal Processing Letters 2014;21:1389.
    With a single event (or non-event) its group's variance is unknown and taken as zero.

    >>> delong(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))[0]
    0.75
    """
    cases, controls = scores[events], scores[~events]
    m, n = len(cases), len(controls)
    ranks = _midranks(np.concatenate([cases, controls]))
    over_controls = (ranks[:m] - _midranks(cases)) / n
    over_cases = 1 - (ranks[m:] - _midranks(controls)) / m
    auroc = float(over_controls.mean())
    variance = sum(
        float(np.var(part, ddof=1)) / len(part)
        for part in (over_controls, over_cases)
        if len(part) > 1
    )
    return auroc, float(np.sqrt(variance))


def binned_auroc(bin_events: FloatArray, bin_rows: FloatArray) -> tuple[float, float] | None:
    """AUROC and DeLong standard error from counts; ties within a bin count half.

    Returns None where there are no events or no non-events.
    """
    controls = bin_rows - bin_events
    m, n = float(bin_events.sum()), float(controls.sum())
    if m == 0 or n == 0:
        return None
    below = np.cumsum(controls) - controls
    over_controls = (below + controls / 2) / n
    above = m - np.cumsum(bin_events)
    over_cases = (above + bin_events / 2) / m
    auroc = float(np.sum(bin_events * over_controls) / m)
    variance = _group_variance(over_controls, bin_events) + _group_variance(over_cases, controls)
    return auroc, float(np.sqrt(variance))


def _group_variance(values: FloatArray, weights: FloatArray) -> float:
    total = float(weights.sum())
    if total <= 1:
        return 0.0
    mean = float(np.sum(weights * values)) / total
    return float(np.sum(weights * (values - mean) ** 2)) / (total - 1) / total


def calibration(
    bin_logits: FloatArray, bin_rows: FloatArray, bin_events: FloatArray
) -> tuple[float | None, float | None]:
    """Calibration slope and calibration-in-the-large from binned scores.

    The slope is the coefficient of the logit score in a logistic regression of the outcome on it;
    the intercept is fitted with the slope held at 1 (Van Calster et al., J Clin Epidemiol
    2016;74:167). Each bin's rows stand at the bin's mean score.

    Returns
    -------
    slope, intercept : float or None
        None where the rows do not determine it.
    """
    used = bin_rows > 0
    rows, events = bin_rows[used], bin_events[used]
    if not 0 < events.sum() < rows.sum():
        return None, None
    line = calibration_line(bin_logits, bin_rows, bin_events)
    slope = None if line is None else line[1]
    return slope, _in_the_large(bin_logits[used] / rows, rows, events)


def calibration_line(
    bin_logits: FloatArray, bin_rows: FloatArray, bin_events: FloatArray
) -> tuple[float, float] | None:
    """Intercept and slope of the outcome's logistic regression on the score (Cox 1958).

    Each bin's rows stand at the bin's mean score. None where the rows do not determine it.
    """
    used = bin_rows > 0
    rows, events = bin_rows[used], bin_events[used]
    if not 0 < events.sum() < rows.sum() or len(rows) < 2:
        return None
    score = bin_logits[used] / rows
    matrix = np.column_stack([np.ones_like(score), score])
    both = _grouped_fit(matrix, rows, events, offset=np.zeros_like(score))
    return None if both is None else (float(both[0]), float(both[1]))


def _in_the_large(score: FloatArray, rows: FloatArray, events: FloatArray) -> float | None:
    fitted = _grouped_fit(np.ones((len(score), 1)), rows, events, offset=score)
    return None if fitted is None else float(fitted[0])


def _grouped_fit(
    matrix: FloatArray, rows: FloatArray, events: FloatArray, offset: FloatArray
) -> FloatArray | None:
    """Grouped logistic regression by Newton's method with step halving; None where it diverges."""

    def loss(beta: FloatArray) -> float:
        logit = offset + matrix @ beta
        return float(np.sum(rows * np.logaddexp(0.0, logit) - events * logit))

    beta = np.zeros(matrix.shape[1])
    for _ in range(50):
        risk = expit(offset + matrix @ beta)
        hessian = (matrix * (rows * risk * (1 - risk))[:, None]).T @ matrix
        try:
            step = np.linalg.solve(hessian, matrix.T @ (events - rows * risk))
        except np.linalg.LinAlgError:
            return None
        before = loss(beta)
        # Relative, for a sum over a million rows is not known to 1e-12.
        while loss(beta + step) > before * (1 + 1e-14) and np.max(np.abs(step)) > 1e-10:
            step = step / 2
        beta = beta + step
        if np.max(np.abs(step)) < 1e-10:
            return beta
    return None


def overall_metrics(sums: EvaluationSums) -> dict[str, float | None]:
    """Every overall figure from the sites' summed evaluation.

    Returns
    -------
    dict
        auroc, auroc_standard_error, brier, log_loss, observed_expected, calibration_slope,
        calibration_intercept, rows, events; None where the rows do not determine a figure.
    """
    rows = float(sums.rows)
    discrimination = binned_auroc(sums.bin_events, sums.bin_rows)
    slope, intercept = calibration(sums.bin_logits, sums.bin_rows, sums.bin_events)
    expected = float(sums.expected)
    return {
        "rows": rows,
        "events": float(sums.events),
        "auroc": None if discrimination is None else discrimination[0],
        "auroc_standard_error": None if discrimination is None else discrimination[1],
        "brier": float(sums.squared_error) / rows if rows else None,
        "log_loss": float(sums.log_loss) / rows if rows else None,
        "observed_expected": float(sums.events) / expected if expected > 0 else None,
        "calibration_slope": slope,
        "calibration_intercept": intercept,
    }
