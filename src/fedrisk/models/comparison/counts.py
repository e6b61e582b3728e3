"""The first message of a comparison: sums, counts and bins of each model's scores at one site.

Figures that are means over rows, and their errors, are complete after this message; AUROCs of all
sites together and calibration slopes need the second (`fedrisk.models.comparison.placement`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedrisk.models.bins import logit_edges
from fedrisk.models.comparison.clusters import (
    CLUSTERINGS,
    cluster_counts,
    cluster_moments,
    clusterings,
)
from fedrisk.models.comparison.concordance import Placement
from fedrisk.models.comparison.rows import BANDS, Codes, ComparedRows, band_codes, group_names
from fedrisk.models.logistic import expit
from fedrisk.models.metrics import LOG_LOSS_FLOOR
from fedrisk.study import Study
from fedrisk.study.records import BoolArray, FloatArray, SumRecord, axes, total

#: What is summed for each model, and beside the models for the rows.
MODEL_FIGURES = ("squared_error", "log_loss", "expected", "benefit_medium", "benefit_high")
ROW_FIGURES = ("events", "rows")


@dataclass(frozen=True)
class ComparisonCounts(SumRecord):
    """Sums over the rows that are compared, by group (`group_names`; the first is all rows).

    What it tells of rows: counts by group, band and score bin, and sums of squares of a person's or
    a day's sums. A site hides groups of few rows (`fedrisk.sites.disclosure.compared_cells`) and
    gives scores of groups of rows in place of each row's, so a bin, a level of risk or a cell of
    the churn holds none, or as many rows as its policy demands.

    Attributes
    ----------
    rows, events : (groups,) array
        Counts, of rows that are judged.
    squared_weights, squared_event_weights : (groups,) array
        For the effective number of rows and of events (Kish 1965); counts where weights are 1.
    clusters : (groups, clusterings) array
        People, days, and days of people.
    totals : (groups, figures) array
        Weighted sums of `MODEL_FIGURES` of each model and of `ROW_FIGURES`. Net benefits are of all
        rows alone and zero in the other groups: there they would count a few rows of one outcome.
    moments : (groups, clusterings, figures, figures) array
        Sums over clusters of the outer product of a cluster's totals.
    pairs : (groups,) array
        ``m n / (m + n)`` for m events and n others: the weight of this site's AUROCs (van Elteren
        1960, as for stratified Wilcoxon statistics); 0 where one of them is missing.
    concordance : (groups, models) array
        ``pairs`` times the AUROC within this site.
    concordance_moments : (groups, models, models) array
        ``pairs`` squared times the covariance of these AUROCs.
    band_rows, band_treated, band_events : (bands,) array
        Rows, rows where a score led to care, and events by the champion's risk level: of all rows,
        also where only untreated ones are judged.
    treated_events, treated_expected : number
        Events among the treated rows, and as many as the champion expects.
    bin_weights, bin_event_weights, bin_logits : (models, score_bins) array
        Weighted rows, events and sums of scores by score bin (`fedrisk.models.bins.logit_edges`).
    churn : (models, bands, bands) array
        Rows by the champion's risk level and the model's; unweighted.
    """

    NAME: ClassVar[str] = "comparison_counts"

    rows: FloatArray = axes("groups")
    events: FloatArray = axes("groups")
    squared_weights: FloatArray = axes("groups")
    squared_event_weights: FloatArray = axes("groups")
    clusters: FloatArray = axes("groups", "clusterings")
    totals: FloatArray = axes("groups", "figures")
    moments: FloatArray = axes("groups", "clusterings", "figures", "figures")
    pairs: FloatArray = axes("groups")
    concordance: FloatArray = axes("groups", "models")
    concordance_moments: FloatArray = axes("groups", "models", "models")
    band_rows: FloatArray = axes("bands")
    band_treated: FloatArray = axes("bands")
    band_events: FloatArray = axes("bands")
    treated_events: FloatArray = axes()
    treated_expected: FloatArray = axes()
    bin_weights: FloatArray = axes("models", "score_bins")
    bin_event_weights: FloatArray = axes("models", "score_bins")
    bin_logits: FloatArray = axes("models", "score_bins")
    churn: FloatArray = axes("models", "bands", "bands")


def comparison_dimensions(study: Study, models: int) -> dict[str, int]:
    """Length of each axis of both messages' records, for so many models."""
    return {
        "models": models,
        "groups": len(group_names(study)),
        "clusterings": len(CLUSTERINGS),
        "figures": len(MODEL_FIGURES) * models + len(ROW_FIGURES),
        "placements": 3 * models,
        "bands": len(BANDS),
        "score_bins": len(logit_edges()) + 1,
    }


def figure_place(figure: str, models: int, model: int = 0) -> int:
    """Where a figure stands on the axis ``figures``; `ROW_FIGURES` are of no model.

    >>> figure_place("expected", models=2, model=1), figure_place("rows", models=2)
    (7, 11)
    """
    if figure in ROW_FIGURES:
        return len(MODEL_FIGURES) * models + ROW_FIGURES.index(figure)
    return len(MODEL_FIGURES) * model + MODEL_FIGURES.index(figure)


def comparison_counts(rows: ComparedRows) -> ComparisonCounts:
    """One site's first message."""
    values = _row_figures(rows)
    inner = values.copy()
    inner[_benefits(len(rows.logits))] = 0.0
    codes = clusterings(rows.people, rows.days)
    by_group = [
        _group(rows, inner if place else values, members & rows.judged, codes)
        for place, members in enumerate(rows.groups)
    ]
    stacked = {name: np.stack([each[name] for each in by_group]) for name in by_group[0]}
    bands, size = rows.champion_bands, len(BANDS)
    return ComparisonCounts(
        **stacked,
        band_rows=_counted(bands, size),
        band_treated=_counted(bands[rows.treated], size),
        band_events=_counted(bands[rows.events], size),
        treated_events=total(rows.events[rows.treated].sum()),
        treated_expected=total(expit(rows.logits[0][rows.treated]).sum()),
        **_binned(rows),
        churn=_churn(rows),
    )


def _benefits(models: int) -> list[int]:
    names = [name for name in MODEL_FIGURES if name.startswith("benefit")]
    return [figure_place(name, models, model) for name in names for model in range(models)]


def _counted(codes: np.ndarray[tuple[int], np.dtype[np.int64]], size: int) -> FloatArray:
    return np.bincount(codes, minlength=size).astype(np.float64)


def _row_figures(rows: ComparedRows) -> FloatArray:
    """Each row's part in every figure, weighted, ``(figures, rows)``."""
    outcome = rows.events.astype(np.float64)
    figures: list[FloatArray] = []
    for logit in rows.logits:
        risk = expit(logit)
        clipped = np.clip(risk, LOG_LOSS_FLOOR, 1 - LOG_LOSS_FLOOR)
        loss = -np.where(rows.events, np.log(clipped), np.log1p(-clipped))
        levels = band_codes(logit, rows.bands)
        figures += [(risk - outcome) ** 2, loss, risk]
        for level, threshold in ((1, rows.bands.medium), (2, rows.bands.high)):
            odds = threshold / (1 - threshold)
            figures.append(np.where(levels >= level, outcome - (1 - outcome) * odds, 0.0))
    figures += [outcome, np.ones_like(outcome)]
    return np.stack(figures) * rows.weights


def _group(
    rows: ComparedRows, values: FloatArray, members: BoolArray, every: tuple[Codes, ...]
) -> dict[str, FloatArray]:
    events, weights = rows.events[members], rows.weights[members]
    codes = tuple(each[members] for each in every)
    own, clusters = values[:, members], cluster_counts(codes)
    pairs, aurocs, covariance = Placement.own_aurocs(
        rows.logits[:, members], events, weights, codes
    )
    return {
        "rows": total(len(events)),
        "events": total(events.sum()),
        "squared_weights": total(np.sum(weights**2)),
        "squared_event_weights": total(np.sum(weights[events] ** 2)),
        "clusters": clusters,
        "totals": own.sum(axis=1),
        "moments": cluster_moments(own, codes),
        "pairs": total(pairs),
        "concordance": pairs * aurocs,
        "concordance_moments": pairs**2 * covariance,
    }


def _binned(rows: ComparedRows) -> dict[str, FloatArray]:
    edges = logit_edges()
    size = len(edges) + 1
    weights, outcome = rows.weights, rows.weights * rows.events
    places = [np.searchsorted(edges, logit, side="right") for logit in rows.logits]
    scored = list(zip(places, rows.logits, strict=True))
    return {
        "bin_weights": np.stack([np.bincount(at, weights, size) for at in places]),
        "bin_event_weights": np.stack([np.bincount(at, outcome, size) for at in places]),
        "bin_logits": np.stack([np.bincount(at, weights * logit, size) for at, logit in scored]),
    }


def _churn(rows: ComparedRows) -> FloatArray:
    size, judged = len(BANDS), rows.judged
    first = rows.champion_bands[judged] * size
    cells = [first + band_codes(logit[judged], rows.bands) for logit in rows.logits]
    return np.stack([_counted(each, size**2).reshape(size, size) for each in cells])
