"""Covariance shift: whether features still lie, and go together, as they did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedrisk.detectors.detector import LEAST_ROWS, About, CountDetector, require_same_study
from fedrisk.profiles.profile import Profile
from fedrisk.study import Study
from fedrisk.study.records import BoolArray, FloatArray

#: Share of the reference's covariance that is mixed into both: a week has seven days of weather, so
#: some directions hardly vary in it, and their logarithm must not drown everything else.
SOFTENED = 0.05
#: Directions of the reference with a smaller share of a feature's variance hold rounding only.
SMALLEST = 1e-6


class CovarianceShift(CountDetector):
    r"""Kullback-Leibler divergence, in nats, of the current rows' normal law from the reference's.

    .. math:: D = (tr(S) - d - \ln \det S + m^T m) / 2

    of mean m and covariance S of the current rows' numbers where the reference has mean 0 and
    covariance I, less its mean under sampling noise, ``d (d + 3) / 4 (1 / n + 1 / m)``. No linear
    change of units or mixture of features alters it. Half of it is the expected log odds that the
    quadratic discriminant, the best domain classifier between normal laws, gives a current row, so
    it needs no fit at the sites: sums and cross products are enough (Kullback, Information Theory
    and Statistics, 1959, 9.1; Rabanser, Guennemann and Lipton, NeurIPS 2019, on classifiers).

    A mean that moved by .45 standard deviations gives .1, and so does a correlation of .43 where
    none was. It sees first and second moments of rows that have every number, and nothing else.

    >>> rng = np.random.default_rng(0)
    >>> def sums(rows):
    ...     table = np.column_stack([np.ones(len(rows)), rows])
    ...     return (table.T @ table).ravel()
    >>> independent = rng.standard_normal((5000, 2))
    >>> together = rng.standard_normal((5000, 2)) @ np.linalg.cholesky([[1, 0.5], [0.5, 1]]).T
    >>> round(float(CovarianceShift().distances(sums(independent), sums(together))), 2)
    0.14
    """

    name = "covariance_shift"
    title = "Covariance shift"
    about: ClassVar[About] = "rows"
    matters = 0.1
    one_cell: ClassVar[bool] = False

    def cells(self, profile: Profile, subject: str) -> FloatArray:  # noqa: ARG002 there is one
        """The moments of complete rows, in one row."""
        return profile.moments.ravel()

    def distances(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """Divergence in nats, less its mean under sampling noise; NaN where rows are too few."""
        n, centre, spread = _normal(reference)
        m, mean, covariance = _normal(current)
        whiten, kept = _whitening(spread)
        turned = np.swapaxes(whiten, -1, -2)
        inside = turned @ covariance @ whiten + _diagonal(~kept)
        inside = (inside + SOFTENED * np.eye(inside.shape[-1])) / (1 + SOFTENED)
        offset = (turned @ (mean - centre)[..., None])[..., 0]
        # Where rows are too few the noise is not known either, and makes the whole NaN.
        known = np.isfinite(n + m)[..., None, None]
        _, log_volume = np.linalg.slogdet(np.where(known, inside, np.eye(inside.shape[-1])))
        directions = kept.sum(axis=-1)
        trace = np.trace(inside, axis1=-2, axis2=-1) - inside.shape[-1]
        raw = (trace - log_volume + np.sum(offset**2, axis=-1) / (1 + SOFTENED)) / 2
        noise = directions * (directions + 3) / 4 * (1 / n + 1 / m)
        found: FloatArray = raw - noise
        return found

    def explain(self, distance: float, subject: str) -> str:
        """A distance in a sentence."""
        return (
            f"Taken together, the numbers of the {subject} are {distance:.3g} nats from the "
            f"reference (from {self.matters:g} on it matters)"
        )


@dataclass(frozen=True)
class PairChange:
    """How the correlation of two features changed."""

    features: tuple[str, str]
    before: float
    now: float

    @property
    def effect(self) -> float:
        """Difference on Fisher's z scale: of equal size wherever the correlation was."""
        limit = 1 - 1e-9
        before, now = np.arctanh(np.clip([self.before, self.now], -limit, limit))
        return float(now - before)


def changed_pairs(
    study: Study, reference: Profile, current: Profile, most: int = 3
) -> list[PairChange]:
    """Pairs of numbers whose correlation changed most, strongest first; none of too few rows.

    Raises
    ------
    StudyError
        When the profiles are of different studies.
    """
    require_same_study(reference, current)
    names = [feature.name for feature in study.numbers]
    before, now = (_correlations(profile.moments) for profile in (reference, current))
    known = np.triu(~np.isnan(before) & ~np.isnan(now), 1)
    pairs = [
        PairChange((names[i], names[j]), float(before[i, j]), float(now[i, j]))
        for i, j in zip(*np.nonzero(known), strict=True)
    ]
    return sorted(pairs, key=lambda pair: -abs(pair.effect))[:most]


def _normal(cells: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows ``(...)``, means ``(..., d)`` and covariances ``(..., d, d)``; NaN of too few rows."""
    size = round(cells.shape[-1] ** 0.5)
    products = cells.reshape(*cells.shape[:-1], size, size)
    rows = products[..., 0, 0]
    enough = np.where(rows >= max(LEAST_ROWS, 3 * size), rows, np.nan)
    mean = products[..., 0, 1:] / enough[..., None]
    square = products[..., 1:, 1:] / enough[..., None, None]
    return enough, mean, square - mean[..., :, None] * mean[..., None, :]


def _whitening(spread: FloatArray) -> tuple[FloatArray, BoolArray]:
    """What takes the reference's covariance to I, and which of its directions hold anything.

    A direction that does not vary in the reference tells nothing about how far is far.
    """
    deviation = np.sqrt(np.maximum(np.diagonal(spread, axis1=-2, axis2=-1), 0.0))
    scale = np.where(deviation > 0, 1.0 / np.where(deviation > 0, deviation, 1.0), 0.0)
    scaled = spread * scale[..., :, None] * scale[..., None, :]
    values, vectors = np.linalg.eigh(np.nan_to_num(scaled))
    kept = values > SMALLEST
    lengths = np.where(kept, 1.0 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
    return scale[..., :, None] * vectors * lengths[..., None, :], kept


def _diagonal(flags: BoolArray) -> FloatArray:
    found: FloatArray = np.eye(flags.shape[-1]) * flags[..., None, :]
    return found


def _correlations(products: FloatArray) -> FloatArray:
    _, _, spread = _normal(products.ravel())
    deviation = np.sqrt(np.diagonal(spread))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: FloatArray = spread / np.outer(deviation, deviation)
    return found
