"""What a detector is: a distance between two profiles, and a sentence about it.

A detector knows no p-value. How large its distance grows where nothing changed is told by the
reference's own blocks (`fedrisk.detectors.nulls`), because rows of the same people under one sky
are far from independent.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol

import numpy as np

from fedrisk.errors import StudyError
from fedrisk.profiles.profile import Profile
from fedrisk.study import Study
from fedrisk.study.records import FloatArray

About = Literal["number", "category", "feature", "score", "labels", "rows"]
#: Fewest rows of a profile that a distance is told of.
LEAST_ROWS = 20


class Detector(Protocol):
    """A distance between a reference and a current window.

    Attributes
    ----------
    name : str
        Key in `fedrisk.detectors.DETECTORS`.
    title : str
        What it is called in a report.
    about : str
        What it looks at: a ``number`` or ``category`` feature, any ``feature``, the ``score``, the
        ``labels``, or whole ``rows``.
    matters : float
        The least distance that is an effect worth acting on; below it a change may be certain and
        still be of no importance.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[About]
    matters: ClassVar[float]

    def subjects(self, study: Study) -> tuple[str, ...]:
        """What of a study is looked at: names of features, or ``("score",)`` and the like."""
        ...

    def distance(self, reference: Profile, current: Profile, subject: str) -> float | None:
        """How far the current profile is from the reference; None where rows are too few.

        Where sampling noise alone has a known mean, it is taken off, so a distance may be slightly
        negative.

        Raises
        ------
        StudyError
            When the profiles are of different studies.
        """
        ...

    def explain(self, distance: float, subject: str) -> str:
        """A distance in a sentence."""
        ...


class CountDetector:
    """Base of detectors that compare two arrays of counts, cell by cell.

    A subclass defines `cells` and `distances`; many profiles are compared at once by leading axes,
    which is what makes the nulls of a hundred blocks cheap.

    Attributes
    ----------
    one_cell : bool
        Whether a row counts in one cell alone, so that cells have shares; else they are other sums.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[About]
    matters: ClassVar[float]
    one_cell: ClassVar[bool] = True

    def subjects(self, study: Study) -> tuple[str, ...]:
        """What of a study is looked at."""
        named = {
            "number": tuple(feature.name for feature in study.numbers),
            "category": study.category_names,
            "feature": study.feature_names,
        }
        return named.get(self.about, (self.about,))

    def cells(self, profile: Profile, subject: str) -> FloatArray:
        """The counts that are compared, ``(cells,)``."""
        if self.about == "score":
            return profile.scores
        return profile.numbers[subject] if self.about == "number" else profile.categories[subject]

    def distances(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """Distances of arrays of counts ``(..., cells)``; NaN where rows are too few.

        Leading axes broadcast against each other.
        """
        raise NotImplementedError

    def noise(self, reference: FloatArray, current: FloatArray) -> FloatArray:
        """The mean that `distances` takes off for sampling noise; 0 where it takes off none.

        Nulls are learnt with it: what is left without is often nothing, and has no logarithm.
        """
        return np.zeros(np.broadcast_shapes(reference.shape, current.shape)[:-1])

    def distance(self, reference: Profile, current: Profile, subject: str) -> float | None:
        """How far the current profile is from the reference; None where rows are too few."""
        require_same_study(reference, current)
        found = self.distances(self.cells(reference, subject), self.cells(current, subject))
        return None if np.isnan(found) else float(found)

    def explain(self, distance: float, subject: str) -> str:
        """A distance in a sentence."""
        return f"{self.title} of {subject} is {distance:.3g} (from {self.matters:g} on it matters)"


def require_same_study(reference: Profile, current: Profile) -> None:
    """Raise StudyError where two profiles have other bins."""
    if reference.study != current.study:
        raise StudyError(
            f"a window of study {current.study[:12]} does not compare with a reference of study "
            f"{reference.study[:12]}",
            hint="a window belongs to one version of the study: train a model of this version",
        )


def shares(counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Shares ``(..., cells)`` and totals ``(...)`` of counts; NaN below `LEAST_ROWS`."""
    totals = counts.sum(axis=-1)
    enough = np.where(totals >= LEAST_ROWS, totals, np.nan)
    return counts / enough[..., None], enough
