"""Bin counts of a window's rows: what drift is seen by, and nothing finer.

The bins are those of the reference that every model is stored with, so a profile compares with its
champion's reference cell by cell, and two profiles of one study add up by adding their counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from fedrisk.errors import StudyError
from fedrisk.models.bins import feature_edges
from fedrisk.profiles.moments import no_moments
from fedrisk.study import Study
from fedrisk.study.records import FloatArray

#: Bins of the score on the logit scale: an eighth wide between -12 and 12, and two open ones.
SCORE_BINS_PER_UNIT = 8
SCORE_LIMIT = 12


def score_edges() -> FloatArray:
    """Edges of the score bins, log-odds, ascending, ``(193,)``."""
    return np.linspace(-SCORE_LIMIT, SCORE_LIMIT, 2 * SCORE_LIMIT * SCORE_BINS_PER_UNIT + 1)


def no_scores() -> FloatArray:
    """Counts by score bin of no rows, ``(194,)``."""
    return np.zeros(2 * SCORE_LIMIT * SCORE_BINS_PER_UNIT + 2)


@dataclass(frozen=True)
class Profile:
    """Counts of some rows.

    A row has a value in one of a feature's bins or levels, or is counted as ``missing`` or
    ``outside`` for it, so these add up to ``rows``; where they fall short the site withheld them.

    Attributes
    ----------
    study : str
        Hash of the study whose bins these are.
    rows : float
    numbers : dict of feature to (edges + 1,) array
        Rows by bin; the first and last bins are open.
    categories : dict of feature to (levels,) array
    missing : dict of feature to float
        Rows without a value, of every feature.
    scores : (194,) array
        Rows by score bin (`score_edges`); all zero where nothing was scored.
    outside : dict of feature to float
        Values beyond the hard bounds or unreadable, of every feature; they are in no bin.
    labelled, events : (194,) array
        Scored rows whose label is mature, by score bin, and the events among them.
    moments : (1 + numbers, 1 + numbers) array
        Cross products of 1 and the numbers over rows that have them all
        (`fedrisk.profiles.moments`); zero where nobody took them.
    """

    study: str
    rows: float
    numbers: Mapping[str, FloatArray]
    categories: Mapping[str, FloatArray]
    missing: Mapping[str, float]
    scores: FloatArray
    outside: Mapping[str, float] = field(default_factory=dict)
    labelled: FloatArray = field(default_factory=no_scores)
    events: FloatArray = field(default_factory=no_scores)
    moments: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if not self.outside:
            object.__setattr__(self, "outside", dict.fromkeys(self.missing, 0.0))
        if not self.moments.size:
            object.__setattr__(self, "moments", no_moments(len(self.numbers)))

    @classmethod
    def empty(cls, study: Study) -> Profile:
        """The profile of no rows."""
        return cls(
            study=study.hash,
            rows=0.0,
            numbers={f.name: np.zeros(len(feature_edges(f)) + 1) for f in study.numbers},
            categories={f.name: np.zeros(len(f.levels)) for f in study.categories},
            missing={f.name: 0.0 for f in study.features},
            scores=no_scores(),
        )

    def __add__(self, other: Profile) -> Profile:
        """The profile of both's rows.

        Raises
        ------
        StudyError
            When the other is of another study: its bins mean something else.
        """
        return self._with(other, 1.0)

    def __sub__(self, part: Profile) -> Profile:
        """The profile of the rows that are left without a part of them.

        Raises
        ------
        StudyError
            When the part is of another study.
        """
        return self._with(part, -1.0)

    def _with(self, other: Profile, sign: float) -> Profile:
        if other.study != self.study:
            raise StudyError(
                f"profiles of studies {self.study[:12]} and {other.study[:12]} do not add up",
                hint="a window belongs to one version of the study",
            )
        numbers, categories = other.numbers, other.categories
        return Profile(
            study=self.study,
            rows=self.rows + sign * other.rows,
            numbers={name: a + sign * numbers[name] for name, a in self.numbers.items()},
            categories={name: a + sign * categories[name] for name, a in self.categories.items()},
            missing={name: n + sign * other.missing[name] for name, n in self.missing.items()},
            scores=self.scores + sign * other.scores,
            outside={name: n + sign * other.outside[name] for name, n in self.outside.items()},
            labelled=self.labelled + sign * other.labelled,
            events=self.events + sign * other.events,
            moments=self.moments + sign * other.moments,
        )

    def document(self) -> dict[str, Any]:
        """The profile as JSON values; what is zero throughout for want of rows is left out."""
        optional: dict[str, Any] = {}
        if any(self.outside.values()):
            optional["outside"] = dict(self.outside)
        if self.labelled.any():
            optional |= {"labelled": self.labelled.tolist(), "events": self.events.tolist()}
        if self.moments.any():
            optional["moments"] = self.moments.tolist()
        return {
            "study": self.study,
            "rows": self.rows,
            "numbers": {name: a.tolist() for name, a in self.numbers.items()},
            "categories": {name: a.tolist() for name, a in self.categories.items()},
            "missing": dict(self.missing),
            "scores": self.scores.tolist(),
            **optional,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Profile:
        """Rebuild from `document`.

        Raises
        ------
        StudyError
            When it is no such document.
        """
        try:
            arrays = {
                part: {name: np.array(a, np.float64) for name, a in document[part].items()}
                for part in ("numbers", "categories")
            }
            return cls(
                study=str(document["study"]),
                rows=float(document["rows"]),
                numbers=arrays["numbers"],
                categories=arrays["categories"],
                missing={name: float(n) for name, n in document["missing"].items()},
                scores=np.array(document["scores"], np.float64),
                outside={name: float(n) for name, n in document.get("outside", {}).items()},
                labelled=_scores(document, "labelled"),
                events=_scores(document, "events"),
                moments=_moments(document),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StudyError(f"not a profile: {error!r}") from None


def _scores(document: Mapping[str, Any], part: str) -> FloatArray:
    """Counts by score bin that a document may leave out."""
    return np.array(document[part], np.float64) if part in document else no_scores()


def _moments(document: Mapping[str, Any]) -> FloatArray:
    """The moments that a document may leave out."""
    none = no_moments(len(document["numbers"]))
    return np.array(document.get("moments", none), np.float64).reshape(none.shape)


@dataclass(frozen=True)
class Window:
    """A closed window of one model version.

    Attributes
    ----------
    id : str
        Unique; storing the same window twice counts it once.
    model, version : str
    source : str
        Who counted: a replica's or a site's name.
    start, end : datetime
        With a time zone; the end is not part of it.
    profile : Profile
    """

    id: str
    model: str
    version: str
    source: str
    start: datetime
    end: datetime
    profile: Profile
