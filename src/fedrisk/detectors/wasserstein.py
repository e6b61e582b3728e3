"""Wasserstein distance of a number's bins, in standard deviations of the reference."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedrisk.detectors.bin_centres import bin_centres
from fedrisk.detectors.detector import About, CountDetector, shares
from fedrisk.study.records import FloatArray


class Wasserstein(CountDetector):
    r"""How far, on average, a value has to move to turn one distribution into the other.

    .. math:: W_1 = \frac{1}{\sigma} \int |F(x) - G(x)| \, dx

    where sigma is the reference's standard deviation, which makes it free of units: a mean that
    moved by half a standard deviation is .5 (Vallender, Theory of Probability and its Applications
    1974;18:784). Of the detectors of numbers it has the most power against shifts of the mean.

    >>> reference, moved = np.array([0.0, 50, 50, 0, 0]), np.array([0.0, 0, 50, 50, 0])
    >>> round(float(Wasserstein().distances(reference, moved)), 3)
    1.732
    """

    name: ClassVar[str] = "wasserstein"
    title: ClassVar[str] = "Wasserstein distance in standard deviations"
    about: ClassVar[About] = "number"
    matters: ClassVar[float] = 0.1

    def distances(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """Distances in standard deviations of the reference."""
        p, _ = shares(reference)
        q, _ = shares(current)
        return wasserstein(p, q)


def wasserstein(p: FloatArray, q: FloatArray) -> FloatArray:
    """Wasserstein distance of shares ``(..., cells)``, in standard deviations of ``p``.

    Infinite where ``p`` has all its rows in one cell and ``q`` has not.
    """
    centres = bin_centres(p.shape[-1])
    mean = (p @ centres)[..., None]
    # A spread below that of one cell cannot be told from counts.
    spread = np.sqrt((p * (centres - mean) ** 2).sum(axis=-1) + np.diff(centres).min() ** 2 / 12)
    gaps = np.abs(np.cumsum(p, axis=-1) - np.cumsum(q, axis=-1))[..., :-1]
    found: FloatArray = (gaps @ np.diff(centres)) / spread
    return found
