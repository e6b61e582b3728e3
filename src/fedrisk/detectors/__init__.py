"""Detectors by name: a new one costs a file, a test and a line here."""

from fedrisk.detectors.covariance_shift import CovarianceShift
from fedrisk.detectors.detector import About, CountDetector, Detector
from fedrisk.detectors.jensen_shannon import JensenShannon
from fedrisk.detectors.label_shift import LabelShift
from fedrisk.detectors.wasserstein import Wasserstein

_EVERY: tuple[Detector, ...] = (
    Wasserstein(),
    JensenShannon(),
    CovarianceShift(),
    LabelShift(),
)
DETECTORS: dict[str, Detector] = {detector.name: detector for detector in _EVERY}

__all__ = ["DETECTORS", "About", "CountDetector", "Detector"]
