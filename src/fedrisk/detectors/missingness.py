"""Change of the share of missing values."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedrisk.detectors.detector import About, CountDetector, shares
from fedrisk.profiles.profile import Profile
from fedrisk.study.records import FloatArray


class Missingness(CountDetector):
    """Difference of the share of rows without a value, up or down, between 0 and 1.

    >>> reference, current = np.array([990.0, 10.0]), np.array([80.0, 20.0])
    >>> round(float(Missingness().distances(reference, current)), 3)
    0.19
    """

    name: ClassVar[str] = "missingness"
    title: ClassVar[str] = "change of the share of missing values"
    about: ClassVar[About] = "feature"
    matters: ClassVar[float] = 0.05

    def cells(self, profile: Profile, subject: str) -> FloatArray:
        """Rows with a value and without, ``(2,)``."""
        gone = profile.missing[subject]
        return np.array([max(profile.rows - gone, 0.0), gone])

    def distances(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """Differences of shares."""
        p, _ = shares(reference)
        q, _ = shares(current)
        return np.abs(q - p)[..., 1]
