"""Placement values: how far each event stands above those without, and what AUROCs owe to it.

For an event the placement value is the share of the others that score lower, for another row the
share of events that score higher; ties count half. Their mean is the AUROC, and their spread its
variance (DeLong, DeLong and Clarke-Pearson, Biometrics 1988;44:837), here in O(n log n) from the
distinct scores (Sun and Xu, IEEE Signal Processing Letters 2014;21:1389).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrisk.models.comparison.clusters import cluster_counts, cluster_moments, form_covariance
from fedrisk.study.records import BoolArray, FloatArray

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Placement:
    """Placement values at each place, a distinct score or a score bin, in ascending order.

    Attributes
    ----------
    cases, controls : float
        Weighted events and other rows.
    of_cases, of_controls : (places,) array
        Placement value of an event, and of another row, that stands there.
    auroc : float
    """

    cases: float
    controls: float
    of_cases: FloatArray
    of_controls: FloatArray
    auroc: float

    @classmethod
    def of(cls, cases: FloatArray, controls: FloatArray) -> Placement | None:
        """From weighted events and other rows at each place; None without one of the two.

        >>> Placement.of(np.array([0.0, 1.0]), np.array([3.0, 1.0])).auroc
        0.875
        """
        m, n = float(cases.sum()), float(controls.sum())
        if m <= 0 or n <= 0:
            return None
        of_cases = (np.cumsum(controls) - controls / 2) / n
        of_controls = (m - np.cumsum(cases) + cases / 2) / m
        return cls(m, n, of_cases, of_controls, float(cases @ of_cases) / m)

    def influence(self, places: Codes, events: BoolArray, weights: FloatArray) -> FloatArray:
        """What each row moves the AUROC by, ``(rows,)``: they sum to zero over all rows."""
        above = (self.of_cases[places] - self.auroc) / self.cases
        below = (self.of_controls[places] - self.auroc) / self.controls
        return np.where(events, above, below) * weights

    @staticmethod
    def own_aurocs(
        logits: FloatArray, events: BoolArray, weights: FloatArray, codes: tuple[Codes, ...]
    ) -> tuple[float, FloatArray, FloatArray]:
        """AUROCs of several models on one site's rows, with their clustered covariance.

        Parameters
        ----------
        logits : (models, rows) array
        events, weights : (rows,) array
        codes : tuple of (rows,) arrays
            `fedrisk.models.comparison.clusters.clusterings`.

        Returns
        -------
        pairs : float
            ``m n / (m + n)`` of the weighted events and others; 0 where the rest is undefined and
            zero: without events, without others, or of a single person or day.
        aurocs : (models,) array
        covariance : (models, models) array
        """
        size = len(logits)
        nothing = (0.0, np.zeros(size), np.zeros((size, size)))
        influences, aurocs, pairs = [], [], 0.0
        for logit in logits:
            _, places = np.unique(logit, return_inverse=True)
            cases = np.bincount(places, weights * events).astype(np.float64)
            controls = np.bincount(places, weights * ~events).astype(np.float64)
            placed = Placement.of(cases, controls)
            if placed is None:
                return nothing
            influences.append(placed.influence(places, events, weights))
            aurocs.append(placed.auroc)
            pairs = placed.cases * placed.controls / (placed.cases + placed.controls)
        clusters = cluster_counts(codes)
        moments = cluster_moments(np.stack(influences), codes)
        covariance = form_covariance(np.eye(size), moments, clusters)
        return nothing if np.isnan(covariance).any() else (pairs, np.array(aurocs), covariance)
