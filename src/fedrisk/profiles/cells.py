"""A profile as one row of numbers, so that many of them are a table: small to store, quick to add.

The order is fixed: bins of every number, levels of every category, missing and outside of every
feature, then scores, labelled and events, then the moments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedrisk.models.bins import feature_edges
from fedrisk.profiles.profile import Profile, no_scores
from fedrisk.study import Study
from fedrisk.study.records import FloatArray


@dataclass(frozen=True)
class Cells:
    """Where each count of a study's profiles stands in a row.

    Attributes
    ----------
    study : str
        Hash of the study.
    numbers, categories : mapping of feature to int
        Bins and levels, in the study's order.
    features : tuple of str
        All features, in the study's order.
    """

    study: str
    numbers: Mapping[str, int]
    categories: Mapping[str, int]
    features: tuple[str, ...]

    @classmethod
    def of(cls, study: Study) -> Cells:
        """The places of this study's counts."""
        return cls(
            study=study.hash,
            numbers={f.name: len(feature_edges(f)) + 1 for f in study.numbers},
            categories={f.name: len(f.levels) for f in study.categories},
            features=study.feature_names,
        )

    @property
    def lengths(self) -> list[int]:
        """How many numbers each part takes."""
        scores = len(no_scores())
        both = [*self.numbers.values(), *self.categories.values()]
        return [
            *both,
            len(self.features),
            len(self.features),
            scores,
            scores,
            scores,
            (1 + len(self.numbers)) ** 2,
        ]

    def row(self, profile: Profile) -> FloatArray:
        """The counts of a profile, ``(cells,)``; its number of rows is not among them."""
        return np.concatenate(
            [
                *(profile.numbers[name] for name in self.numbers),
                *(profile.categories[name] for name in self.categories),
                [profile.missing[name] for name in self.features],
                [profile.outside[name] for name in self.features],
                profile.scores,
                profile.labelled,
                profile.events,
                profile.moments.ravel(),
            ]
        )

    def profile(self, rows: float, row: FloatArray) -> Profile:
        """The profile that `row` was made of."""
        pieces = iter(np.split(row, np.cumsum(self.lengths)[:-1]))
        numbers = {name: next(pieces) for name in self.numbers}
        categories = {name: next(pieces) for name in self.categories}
        missing, outside = (
            dict(zip(self.features, next(pieces).tolist(), strict=True)) for _ in range(2)
        )
        scores, labelled, events, products = pieces
        return Profile(
            study=self.study,
            rows=rows,
            numbers=numbers,
            categories=categories,
            missing=missing,
            scores=scores,
            outside=outside,
            labelled=labelled,
            events=events,
            moments=products.reshape(1 + len(numbers), 1 + len(numbers)),
        )
