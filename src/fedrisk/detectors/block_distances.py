"""Distances of the reference's blocks from what they are compared with, many at once."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from fedrisk.detectors.blocks import Blocks, Groups
from fedrisk.detectors.detector import CountDetector, Detector
from fedrisk.profiles.profile import Profile
from fedrisk.profiles.reference import merge
from fedrisk.study.records import BoolArray, FloatArray

#: Difference in rows, as a share of them, from which on it adds to the noise of a distance.
ALIKE = 0.15


class BlockDistances(Protocol):
    """One detector's distances of one subject among the blocks of one site.

    Distances between blocks are given with the noise that the detector takes off.
    """

    def between(self, groups: Groups) -> FloatArray:
        """Distance of each group from its comparison, ``(groups,)``; NaN where rows are few."""
        ...

    def as_thin_as(self, current: Profile, groups: Groups, seed: int) -> FloatArray | None:
        """The same with the noise of a window of other size; None where that adds none."""
        ...

    def of(self, current: Profile, chosen: BoolArray) -> tuple[float, float] | None:
        """Distance of a window from the chosen blocks, and the noise taken off of it."""
        ...


def block_distances(detector: Detector, subject: str, blocks: Blocks) -> BlockDistances:
    """The fast way for arrays of counts, and the general one for any detector."""
    if isinstance(detector, CountDetector):
        return _OfCounts(detector, subject, blocks)
    return _OfProfiles(detector, subject, blocks)


class _OfCounts:
    def __init__(self, detector: CountDetector, subject: str, blocks: Blocks) -> None:
        self._detector, self._subject = detector, subject
        counts = np.array([detector.cells(p, subject) for p in blocks.profiles], np.float64)
        self._rows = counts.sum(axis=1)
        # Consecutive blocks add up to a difference of two of these.
        self._until = np.concatenate([np.zeros_like(counts[:1]), np.cumsum(counts, axis=0)])
        self._people = blocks.people

    def between(self, groups: Groups) -> FloatArray:
        compared = self._sums(groups.comparison)
        return self._with_noise(compared, self._sums(groups.members))

    def as_thin_as(self, current: Profile, groups: Groups, seed: int) -> FloatArray | None:
        if not self._detector.one_cell:
            return None
        totals = groups.members @ self._rows
        rows = self._detector.cells(current, self._subject).sum()
        told = rows > 0 and len(totals) > 0 and (totals > 0).all()
        if not told or abs(np.median(totals) / rows - 1) <= ALIKE:
            return None
        people = groups.members @ self._people / groups.members.sum(axis=1)
        persons = np.where(people > 0, np.minimum(people, totals), totals)
        # Of n persons among or beside N the mean differs as that of 1 / |1/n - 1/N| new ones.
        fewer = np.abs(totals / rows - 1)
        drawn = np.maximum(np.rint(persons / np.maximum(fewer, 1e-3)), 2).astype(np.int64)
        random = np.random.default_rng(seed)
        drawn_rows = random.multinomial(drawn, self._sums(groups.members) / totals[:, None])
        noisy = drawn_rows * (rows / drawn)[:, None]
        compared = self._sums(groups.comparison)
        return self._with_noise(compared, noisy)

    def of(self, current: Profile, chosen: BoolArray) -> tuple[float, float] | None:
        compared = self._sums(chosen[None])[0]
        cells = self._detector.cells(current, self._subject)
        found = float(self._detector.distances(compared, cells))
        noise = float(self._detector.noise(compared, cells))
        return (found, noise) if np.isfinite(found) else None

    def _with_noise(self, compared: FloatArray, sums: FloatArray) -> FloatArray:
        distances = self._detector.distances(compared, sums)
        return distances + self._detector.noise(compared, sums)

    def _sums(self, chosen: BoolArray) -> FloatArray:
        """Counts of the blocks chosen in each row, ``(rows, cells)``; at least one in each."""
        steps = np.diff(chosen.astype(np.float64), axis=1, prepend=0, append=0)
        rows, places = np.nonzero(steps)
        parts = -steps[rows, places, None] * self._until[places]
        sums: FloatArray = np.add.reduceat(parts, np.searchsorted(rows, np.arange(len(chosen))))
        return sums


class _OfProfiles:
    def __init__(self, detector: Detector, subject: str, blocks: Blocks) -> None:
        self._detector, self._subject, self._profiles = detector, subject, blocks.profiles

    def between(self, groups: Groups) -> FloatArray:
        pairs = zip(groups.members, groups.comparison, strict=True)
        found = [self._distance(self._sum(own), compared) for own, compared in pairs]
        return np.array([np.nan if d is None else d for d in found], np.float64)

    def as_thin_as(self, current: Profile, groups: Groups, seed: int) -> FloatArray | None:  # noqa: ARG002
        # How rows of a profile would thin out is not known of a detector in general.
        return None

    def of(self, current: Profile, chosen: BoolArray) -> tuple[float, float] | None:
        found = self._distance(current, chosen)
        return None if found is None else (found, 0.0)

    def _distance(self, current: Profile, chosen: BoolArray) -> float | None:
        return self._detector.distance(self._sum(chosen), current, self._subject)

    def _sum(self, chosen: BoolArray) -> Profile:
        return merge(self._profiles[place] for place in np.flatnonzero(chosen))
