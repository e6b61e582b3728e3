"""The second message of a comparison: what each site's rows owe to the AUROCs of all sites.

The question carries the distribution of each model's scores over all sites; with it a site knows
each row's placement value among the rows of everybody, and sends sums of products of people's sums.
Added up they are the covariance of the AUROCs on the pooled rows (DeLong et al. 1988; by person
Obuchowski 1997), up to the score bins' width, and that of the calibration lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedrisk.errors import EgressError
from fedrisk.models.bins import logit_edges
from fedrisk.models.comparison.clusters import cluster_moments, clusterings
from fedrisk.models.comparison.concordance import Placement
from fedrisk.models.comparison.counts import ComparisonCounts
from fedrisk.models.comparison.rows import ComparedRows
from fedrisk.models.logistic import expit
from fedrisk.models.metrics import calibration_line
from fedrisk.study.records import FloatArray, SumRecord, axes

#: What is summed for each model: its part in the AUROC, and in the two equations that a calibration
#: line solves.
PLACEMENT_FIGURES = ("auroc", "calibration_intercept", "calibration_slope")
#: Room for rounding of weights, relative.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class PooledScores:
    """What the second question tells every site: each model's scores over all sites.

    Attributes
    ----------
    cases, controls : (models, score_bins) array
        Weighted events and other rows by score bin.
    lines : (models, 2) array
        Intercept and slope of each model's calibration line; 0 and 1 where not determined.
    """

    cases: FloatArray
    controls: FloatArray
    lines: FloatArray

    @classmethod
    def of(cls, counts: ComparisonCounts) -> PooledScores:
        """From all sites' first messages, added up."""
        lines = [
            calibration_line(*bins) or (0.0, 1.0)
            for bins in zip(
                counts.bin_logits, counts.bin_weights, counts.bin_event_weights, strict=True
            )
        ]
        cases = counts.bin_event_weights
        return cls(cases, np.maximum(counts.bin_weights - cases, 0.0), np.array(lines))

    def array(self) -> FloatArray:
        """All of it as one table for a question, ``(models, 2 * score_bins + 2)``."""
        return np.hstack([self.cases, self.controls, self.lines])

    @classmethod
    def from_array(cls, array: FloatArray) -> PooledScores:
        """Rebuild from `array`.

        Raises
        ------
        EgressError
            When it has another shape, is not finite, or counts below zero.
        """
        bins = len(logit_edges()) + 1
        if array.ndim != 2 or array.shape[1] != 2 * bins + 2 or not np.isfinite(array).all():
            raise EgressError("the scores of all sites are no finite table of the declared shape")
        if np.any(array[:, : 2 * bins] < 0):
            raise EgressError("the scores of all sites hold counts below zero")
        return cls(array[:, :bins], array[:, bins : 2 * bins], array[:, 2 * bins :])

    def hold(self, own: ComparisonCounts) -> bool:
        """Whether a site's own scores can be among these: every bin holds at least its own.

        A site asks this before it answers. Scores that are invented to single rows out must then
        lie beside the site's own, which are the scores of groups of rows.
        """
        cases = own.bin_event_weights
        controls = own.bin_weights - cases
        room = TOLERANCE * (1 + own.bin_weights)
        fits = cases.shape == self.cases.shape
        return bool(
            fits and np.all(self.cases + room >= cases) and np.all(self.controls + room >= controls)
        )


@dataclass(frozen=True)
class PlacementSums(SumRecord):
    """Sums over the rows that are compared, of all groups together.

    What it tells of rows: sums of squares and products over people (and days) of numbers made of
    the scores of groups of rows, never of fewer people than the site's policy demands.

    Attributes
    ----------
    totals : (placements,) array
        Sums of each row's `PLACEMENT_FIGURES`, model by model; zero over all sites.
    moments : (clusterings, placements, placements) array
        Sums over clusters of the outer product of a cluster's totals.
    """

    NAME: ClassVar[str] = "placement_sums"

    totals: FloatArray = axes("placements")
    moments: FloatArray = axes("clusterings", "placements", "placements")


def placement_sums(rows: ComparedRows, pooled: PooledScores) -> PlacementSums:
    """One site's second message."""
    chosen = rows.judged
    events, weights = rows.events[chosen], rows.weights[chosen]
    values: list[FloatArray] = []
    for model, logit in enumerate(rows.logits[:, chosen]):
        placed = Placement.of(pooled.cases[model], pooled.controls[model])
        places = np.searchsorted(logit_edges(), logit, side="right")
        nothing = np.zeros(len(logit))
        values.append(nothing if placed is None else placed.influence(places, events, weights))
        intercept, slope = pooled.lines[model]
        rest = (events - expit(intercept + slope * logit)) * weights
        values += [rest, rest * logit]
    codes = clusterings(rows.people[chosen], rows.days[chosen])
    table = np.stack(values)
    return PlacementSums(table.sum(axis=1), cluster_moments(table, codes))
