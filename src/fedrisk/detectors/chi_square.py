"""Chi-square distance of a category's levels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedrisk.detectors.detector import About, CountDetector, shares
from fedrisk.study.records import FloatArray


class ChiSquare(CountDetector):
    r"""Cohen's effect size w: the root of chi-square per row.

    .. math:: w^2 = \sum_k \frac{(p_k - q_k)^2}{(p_k + q_k) / 2}

    Shares are compared with their mean, so that a level that is new has a finite distance (Cohen,
    Statistical power analysis, 2nd ed. 1988, chapter 7: .1 is small, .3 medium). Between 0 and 2.
    Sampling noise is left in: among the same people it is far below that of independent rows, and
    taking off the latter would leave zeros that no null can be learnt from.

    >>> round(float(ChiSquare().distances(np.array([6e5, 4e5]), np.array([4e5, 6e5]))), 3)
    0.4
    """

    name: ClassVar[str] = "chi_square"
    title: ClassVar[str] = "chi-square distance"
    about: ClassVar[About] = "category"
    matters: ClassVar[float] = 0.1

    def distances(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """Distances between 0 and 2."""
        p, _ = shares(reference)
        q, _ = shares(current)
        middle = np.where(p + q > 0, (p + q) / 2, 1.0)
        squared = ((p - q) ** 2 / middle).sum(axis=-1)
        found: FloatArray = np.sqrt(squared)
        return found
