"""Change of the share of values beyond hard bounds."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedrisk.detectors.detector import About, CountDetector, shares
from fedrisk.profiles.profile import Profile
from fedrisk.study.records import FloatArray


class RangeViolations(CountDetector):
    """Difference of the share of values beyond the study's bounds or unreadable, between 0 and 1.

    Of the values that are there: a feed that falls silent has no violations, and the detector of
    missing values tells it.

    >>> reference, current = np.array([1000.0, 0.0]), np.array([90.0, 10.0])
    >>> round(float(RangeViolations().distances(reference, current)), 3)
    0.1
    """

    name: ClassVar[str] = "range_violations"
    title: ClassVar[str] = "change of the share of values beyond bounds"
    about: ClassVar[About] = "feature"
    matters: ClassVar[float] = 0.01

    def cells(self, profile: Profile, subject: str) -> FloatArray:
        """Values within bounds and beyond, ``(2,)``."""
        beyond = profile.outside[subject]
        there = profile.rows - profile.missing[subject]
        return np.array([max(there - beyond, 0.0), beyond])

    def distances(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """Differences of shares."""
        p, _ = shares(reference)
        q, _ = shares(current)
        return np.abs(q - p)[..., 1]
