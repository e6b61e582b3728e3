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
    r"""Four times the Bhattacharyya distance between the normal laws of two periods' numbers.

    .. math:: D = m^T M^{-1} m / 2 + 2 \ln \det M - \ln \det S, \quad M = (S + I) / 2

    of mean m and covariance S of the current rows where the reference has mean 0 and covariance I,
    less its mean under sampling noise, ``d (d + 3) / 4 (1 / n + 1 / m)``. The best classifier that
    tells the periods apart errs in at most ``exp(-D / 4) / 2`` of rows (Kailath, IEEE Transactions
    on Communication Technology 1967;15:52), so it says what a domain classifier would (Rabanser,
    Guennemann and Lipton, NeurIPS 2019) and needs no fit at the sites: sums and cross products are
    enough. No change of units or mixture of features alters it. Near 0 it is the Kullback-Leibler
    divergence in nats; far off it grows by the logarithm of the spread alone, so that a week of
    extreme weather has no tail without end.

    A mean that moved by .45 standard deviations gives .1, and so does a correlation of .4 where
    none was. It sees first and second moments of rows that have every number, and nothing else.

    >>> rng = np.random.default_rng(0)
    >>> def sums(rows):
    ...     table = np.column_stack([np.ones(len(rows)), rows])
    ...     return (table.T @ table).ravel()
    >>> independent = rng.standard_normal((5000, 2))
    >>> together = rng.standard_normal((5000, 2)) @ np.linalg.cholesky([[1, 0.5], [0.5, 1]]).T
    >>> round(float(CovarianceShift().distances(sums(independent), sums(together))), 2)
    0.15
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
        offset = (turned @ (mean - centre)[..., None])[..., 0] / np.sqrt(1 + SOFTENED)
        # Where rows are too few the noise is not known either, and makes the whole NaN.
        known = np.isfinite(n + m)
        inside = np.where(known[..., None, None], inside, np.eye(inside.shape[-1]))
        offset = np.where(known[..., None], offset, 0.0)
        middle = (inside + np.eye(inside.shape[-1])) / 2
        apart = np.sum(offset * np.linalg.solve(middle, offset[..., None])[..., 0], axis=-1)
        _, of_middle = np.linalg.slogdet(middle)
        _, of_current = np.linalg.slogdet(inside)
        raw = apart / 2 + 2 * of_middle - of_current
        found: FloatArray = raw - _noise(n, m, kept)
        return found

    def noise(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """The mean under sampling noise that `distances` takes off."""
        n, _, spread = _normal(reference)
        return _noise(n, _normal(current)[0], _whitening(spread)[1])

    def explain(self, distance: float, subject: str) -> str:
        """A distance in a sentence."""
        errs = np.exp(-max(distance, 0.0) / 4) / 2
        return (
            f"Taken together, the numbers of the {subject} are {distance:.3g} from the reference "
            f"(from {self.matters:g} on it matters): a classifier can tell the two apart with an "
            f"error of at most {errs:.0%}"
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


def _noise(n: FloatArray, m: FloatArray, kept: BoolArray) -> FloatArray:
    """Half of a chi-square's mean: of d means and d (d + 1) / 2 covariances."""
    directions = kept.sum(axis=-1)
    noise: FloatArray = directions * (directions + 3) / 4 * (1 / n + 1 / m)
    return noise


def _diagonal(flags: BoolArray) -> FloatArray:
    found: FloatArray = np.eye(flags.shape[-1]) * flags[..., None, :]
    return found


def _correlations(products: FloatArray) -> FloatArray:
    _, _, spread = _normal(products.ravel())
    deviation = np.sqrt(np.diagonal(spread))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: FloatArray = spread / np.outer(deviation, deviation)
    return found
