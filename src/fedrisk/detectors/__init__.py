"""Detectors by name: a new one costs a file, a test and a line here."""

from fedrisk.detectors.covariance_shift import CovarianceShift
from fedrisk.detectors.detector import About, CountDetector, Detector
from fedrisk.detectors.jensen_shannon import JensenShannon

DETECTORS: dict[str, Detector] = {
    detector.name: detector for detector in (JensenShannon(), CovarianceShift())
}

__all__ = ["DETECTORS", "About", "CountDetector", "Detector"]
