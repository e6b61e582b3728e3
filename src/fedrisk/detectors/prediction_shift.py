"""Shift of the model's predictions."""

from __future__ import annotations

from typing import ClassVar

from fedrisk.detectors.detector import About, CountDetector, shares
from fedrisk.detectors.wasserstein import wasserstein
from fedrisk.study.records import FloatArray


class PredictionShift(CountDetector):
    """Wasserstein distance of the score's log-odds, in standard deviations of the reference.

    What moves it has moved features that the model leans on; what does not may move as it likes.
    """

    name: ClassVar[str] = "prediction_shift"
    title: ClassVar[str] = "shift of predictions in standard deviations"
    about: ClassVar[About] = "score"
    matters: ClassVar[float] = 0.1

    def distances(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """Distances in standard deviations of the reference's log-odds."""
        p, _ = shares(reference)
        q, _ = shares(current)
        return wasserstein(p, q)
