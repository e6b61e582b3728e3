"""Detectors by name: a new one costs a file, a test and a line here."""

from fedrisk.detectors.chi_square import ChiSquare
from fedrisk.detectors.covariance_shift import CovarianceShift
from fedrisk.detectors.detector import About, CountDetector, Detector
from fedrisk.detectors.jensen_shannon import JensenShannon
from fedrisk.detectors.kolmogorov_smirnov import KolmogorovSmirnov
from fedrisk.detectors.label_shift import LabelShift
from fedrisk.detectors.missingness import Missingness
from fedrisk.detectors.prediction_shift import PredictionShift
from fedrisk.detectors.psi import PopulationStability
from fedrisk.detectors.range_violations import RangeViolations
from fedrisk.detectors.wasserstein import Wasserstein

_EVERY: tuple[Detector, ...] = (
    Wasserstein(),
    KolmogorovSmirnov(),
    PopulationStability(),
    JensenShannon(),
    ChiSquare(),
    Missingness(),
    RangeViolations(),
    PredictionShift(),
    CovarianceShift(),
    LabelShift(),
)
DETECTORS: dict[str, Detector] = {detector.name: detector for detector in _EVERY}

__all__ = ["DETECTORS", "About", "CountDetector", "Detector"]
