"""Kolmogorov-Smirnov distance of a number's bins."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedrisk.detectors.detector import About, CountDetector, shares
from fedrisk.study.records import FloatArray


class KolmogorovSmirnov(CountDetector):
    r"""Largest difference of the two distribution functions, at the bins' edges.

    .. math:: D = \max_x |F(x) - G(x)|

    Between 0 and 1, whatever the unit (Smirnov, Annals of Mathematical Statistics 1948;19:279).
    The table of its p-values holds for independent rows alone and is not used.

    >>> float(KolmogorovSmirnov().distances(np.array([60.0, 40]), np.array([40.0, 60])))
    0.2
    """

    name: ClassVar[str] = "kolmogorov_smirnov"
    title: ClassVar[str] = "Kolmogorov-Smirnov distance"
    about: ClassVar[About] = "number"
    matters: ClassVar[float] = 0.1

    def distances(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """Distances between 0 and 1."""
        p, _ = shares(reference)
        q, _ = shares(current)
        found: FloatArray = np.abs(np.cumsum(p, axis=-1) - np.cumsum(q, axis=-1)).max(axis=-1)
        return np.round(found, 12)
