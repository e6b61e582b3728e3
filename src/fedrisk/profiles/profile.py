"""Bin counts of a window's rows: what drift is seen by, and nothing finer.

The bins are those of the reference that every model is stored with, so a profile compares with its
champion's reference cell by cell, and two profiles of one study add up by adding their counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from fedrisk.errors import StudyError
from fedrisk.models.bins import feature_edges
from fedrisk.study import Study
from fedrisk.study.records import FloatArray

#: Bins of the score on the logit scale: an eighth wide between -12 and 12, and two open ones.
SCORE_BINS_PER_UNIT = 8
SCORE_LIMIT = 12


def score_edges() -> FloatArray:
    """Edges of the score bins, log-odds, ascending, ``(193,)``."""
    return np.linspace(-SCORE_LIMIT, SCORE_LIMIT, 2 * SCORE_LIMIT * SCORE_BINS_PER_UNIT + 1)


@dataclass(frozen=True)
class Profile:
    """Counts of some rows.

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
    """

    study: str
    rows: float
    numbers: Mapping[str, FloatArray]
    categories: Mapping[str, FloatArray]
    missing: Mapping[str, float]
    scores: FloatArray

    @classmethod
    def empty(cls, study: Study) -> Profile:
        """The profile of no rows."""
        return cls(
            study=study.hash,
            rows=0.0,
            numbers={f.name: np.zeros(len(feature_edges(f)) + 1) for f in study.numbers},
            categories={f.name: np.zeros(len(f.levels)) for f in study.categories},
            missing={f.name: 0.0 for f in study.features},
            scores=np.zeros(len(score_edges()) + 1),
        )

    def __add__(self, other: Profile) -> Profile:
        """The profile of both's rows.

        Raises
        ------
        StudyError
            When the other is of another study: its bins mean something else.
        """
        if other.study != self.study:
            raise StudyError(
                f"profiles of studies {self.study[:12]} and {other.study[:12]} do not add up",
                hint="a window belongs to one version of the study",
            )
        return Profile(
            study=self.study,
            rows=self.rows + other.rows,
            numbers={name: a + other.numbers[name] for name, a in self.numbers.items()},
            categories={name: a + other.categories[name] for name, a in self.categories.items()},
            missing={name: n + other.missing[name] for name, n in self.missing.items()},
            scores=self.scores + other.scores,
        )

    def document(self) -> dict[str, Any]:
        """The profile as JSON values."""
        return {
            "study": self.study,
            "rows": self.rows,
            "numbers": {name: a.tolist() for name, a in self.numbers.items()},
            "categories": {name: a.tolist() for name, a in self.categories.items()},
            "missing": dict(self.missing),
            "scores": self.scores.tolist(),
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
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StudyError(f"not a profile: {error!r}") from None


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
