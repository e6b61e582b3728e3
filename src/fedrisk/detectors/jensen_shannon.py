"""Jensen-Shannon divergence of a number's bins or a category's levels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedrisk.detectors.detector import About, CountDetector, shares
from fedrisk.profiles.profile import Profile
from fedrisk.study.records import FloatArray


class JensenShannon(CountDetector):
    r"""Mean Kullback-Leibler divergence, in bits, of both shares from their mean.

    .. math:: JS = H((p + q) / 2) - (H(p) + H(q)) / 2

    Between 0 (same shares) and 1 (no cell in common), less the mean that sampling noise adds:
    ``(cells in use - 1) (1 / n + 1 / m) / (8 ln 2)`` (Lin, IEEE Transactions on Information Theory
    1991;37:145; the bias of a plug-in entropy, Miller 1955). Rows of the same people have a larger
    one; the null knows that.

    >>> counts = np.array([40.0, 60.0])
    >>> float(JensenShannon().distances(counts, np.array([60.0, 40.0]))).__round__(3)
    0.025
    """

    name = "jensen_shannon"
    title = "Jensen-Shannon divergence"
    about: ClassVar[About] = "feature"
    matters = 0.02

    def cells(self, profile: Profile, subject: str) -> FloatArray:
        """Counts of the feature's bins or levels."""
        return profile.numbers.get(subject, profile.categories.get(subject, np.zeros(0)))

    def distances(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """Divergence in bits, less its mean under sampling noise."""
        p, _ = shares(reference)
        q, _ = shares(current)
        raw = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
        found: FloatArray = raw - self.noise(reference, current)
        return found

    def noise(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """The mean under sampling noise, bits."""
        _, n = shares(reference)
        _, m = shares(current)
        used = ((reference + current) > 0).sum(axis=-1)
        noise: FloatArray = (used - 1) * (1 / n + 1 / m) / (8 * np.log(2))
        return noise


def _entropy(p: FloatArray) -> FloatArray:
    terms = np.where(p > 0, p, 1.0)
    entropy: FloatArray = -(p * np.log2(terms)).sum(axis=-1)
    return entropy
