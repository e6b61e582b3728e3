"""Population stability index of a number in tenths of the reference, or of a category."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedrisk.detectors.detector import About, CountDetector, shares
from fedrisk.profiles.profile import Profile
from fedrisk.study.records import FloatArray

#: Groups that a number's bins are put together to: tenths of the reference's rows.
GROUPS = 10
#: Rows that every group has at least, so that an empty one is not infinitely far.
_SOME = 0.5


class PopulationStability(CountDetector):
    r"""Symmetrised Kullback-Leibler divergence of shares, in nats, over ten groups.

    .. math:: PSI = \sum_k (q_k - p_k) \ln (q_k / p_k)

    Groups are tenths of the reference as far as its bins allow; levels of a category are groups of
    their own. Taken off is the mean that sampling noise adds, ``(groups - 1) (1 / n + 1 / m)``
    (Yurdakul, Statistical properties of population stability index, Western Michigan University
    2018), which makes the customary .1 mean the same in small windows.

    >>> counts = np.array([400.0, 600.0])
    >>> round(float(PopulationStability().distances(counts, counts[::-1])), 3)
    0.16
    """

    name: ClassVar[str] = "psi"
    title: ClassVar[str] = "population stability index"
    about: ClassVar[About] = "feature"
    matters: ClassVar[float] = 0.1

    def cells(self, profile: Profile, subject: str) -> FloatArray:
        """Counts of the feature's bins or levels."""
        number = profile.numbers.get(subject)
        return profile.categories[subject] if number is None else number

    def distances(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """Index in nats, less its mean under sampling noise."""
        before, after = _grouped(reference, current)
        p, q = _smoothed(before), _smoothed(after)
        index = np.where(before + after > 0, (q - p) * np.log(q / p), 0.0).sum(axis=-1)
        found: FloatArray = index - _noise(before, after)
        return found

    def noise(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """The mean under sampling noise, nats."""
        return _noise(*_grouped(reference, current))


def _grouped(reference: FloatArray, current: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Counts of both by groups of the reference, ``(..., GROUPS)``; few cells stay as they are."""
    reference, current = np.broadcast_arrays(reference, current)
    if reference.shape[-1] <= GROUPS:
        return reference, current
    totals = np.maximum(reference.sum(axis=-1, keepdims=True), 1.0)
    # A cell belongs to the tenth that its middle rank lies in.
    ranks = (np.cumsum(reference, axis=-1) - reference / 2) / totals
    groups = np.minimum((ranks * GROUPS).astype(np.int64), GROUPS - 1)
    rows = np.arange(groups[..., 0].size).reshape(groups.shape[:-1])[..., None] * GROUPS
    places = (rows + groups).ravel()
    shape = (*groups.shape[:-1], GROUPS)

    def summed(counts: FloatArray) -> FloatArray:
        sums = np.bincount(places, weights=counts.ravel(), minlength=int(np.prod(shape)))
        return sums.reshape(shape)

    return summed(reference), summed(current)


def _noise(before: FloatArray, after: FloatArray) -> FloatArray:
    _, n = shares(before)
    _, m = shares(after)
    noise: FloatArray = ((before + after > 0).sum(axis=-1) - 1) * (1 / n + 1 / m)
    return noise


def _smoothed(counts: FloatArray) -> FloatArray:
    """Shares of counts, none of them 0."""
    more = counts + _SOME
    return np.asarray(more / more.sum(axis=-1, keepdims=True), np.float64)
