"""Count rows one at a time, as they are scored: a few microseconds each, and no row is kept."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from math import log
from typing import Any

import numpy as np

from fedrisk.models.bins import feature_edges
from fedrisk.profiles.profile import SCORE_BINS_PER_UNIT, SCORE_LIMIT, Profile, score_edges
from fedrisk.study import Study
from fedrisk.study.records import Columns, FloatArray

#: Nearest to certainty that a score's log-odds are taken at.
_CERTAIN = 1e-15


class RowCounter:
    """Counts of the rows since the last `take`.

    Parameters
    ----------
    study : Study

    Examples
    --------
    >>> from fedrisk.study import NumberFeature, Study
    >>> age = NumberFeature(name="age", unit="year", minimum=0, maximum=120)
    >>> counter = RowCounter(Study(name="s", label="y", positive=(1,), features=(age,)))
    >>> counter.add({"age": 60.0}, 0.5)
    >>> counter.take().rows, counter.take().rows
    (1.0, 0.0)
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._edges = {f.name: feature_edges(f).tolist() for f in study.numbers}
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        self.rows = 0
        numbers = [(name, edges, [0] * (len(edges) + 1)) for name, edges in self._edges.items()]
        self._numbers = numbers
        self._categories = [
            (f.name, dict.fromkeys((*f.levels, None), 0)) for f in self._study.categories
        ]
        self._absent = dict.fromkeys(self._edges, 0)
        self._scores = [0] * (len(score_edges()) + 1)

    def add(self, row: Mapping[str, Any], risk: float) -> None:
        """Count a row that fits the study, None where a value is missing, and its risk."""
        for name, edges, counts in self._numbers:
            value = row[name]
            if value is None:
                self._absent[name] += 1
            else:
                counts[bisect_right(edges, value)] += 1
        for name, levels in self._categories:
            levels[row[name]] += 1
        self._scores[_score_place(risk)] += 1
        self.rows += 1

    def take(self) -> Profile:
        """The profile of what was counted; counting starts anew."""
        counted = self.profile()
        self.reset()
        return counted

    def profile(self) -> Profile:
        """The profile of what was counted so far."""
        levels = {
            f.name: [counts[level] for level in f.levels]
            for f, (_, counts) in zip(self._study.categories, self._categories, strict=True)
        }
        absent = {name: float(counts[None]) for name, counts in self._categories}
        return Profile(
            study=self._study.hash,
            rows=float(self.rows),
            numbers={name: np.array(c, np.float64) for name, _, c in self._numbers},
            categories={name: np.array(c, np.float64) for name, c in levels.items()},
            missing={name: float(n) for name, n in self._absent.items()} | absent,
            scores=np.array(self._scores, np.float64),
        )


def _score_place(risk: float) -> int:
    """Bin of a risk's log-odds, as ``searchsorted(score_edges(), logit, side="right")``."""
    risk = min(max(risk, _CERTAIN), 1.0 - _CERTAIN)
    place = (log(risk / (1.0 - risk)) + SCORE_LIMIT) * SCORE_BINS_PER_UNIT
    if place < 0:
        return 0
    return min(int(place), 2 * SCORE_LIMIT * SCORE_BINS_PER_UNIT) + 1


def profile_columns(study: Study, columns: Columns, risks: FloatArray | None = None) -> Profile:
    """The profile of many rows in arrays.

    Parameters
    ----------
    study : Study
    columns : mapping of feature name to (rows,) array
        Floats with NaN, or level codes with -1, where a value is missing.
    risks : (rows,) array, optional
        Between 0 and 1.
    """
    rows = len(next(iter(columns.values())))
    numbers, categories, missing = {}, {}, {}
    for feature in study.numbers:
        values = columns[feature.name]
        edges = feature_edges(feature)
        present = values[~np.isnan(values)]
        places = np.searchsorted(edges, present, side="right")
        numbers[feature.name] = np.bincount(places, minlength=len(edges) + 1).astype(np.float64)
        missing[feature.name] = float(rows - len(present))
    for level_feature in study.categories:
        codes = columns[level_feature.name]
        counts = np.bincount(codes + 1, minlength=len(level_feature.levels) + 1)
        categories[level_feature.name] = counts[1:].astype(np.float64)
        missing[level_feature.name] = float(counts[0])
    return Profile(study.hash, float(rows), numbers, categories, missing, _scores(risks))


def _scores(risks: FloatArray | None) -> FloatArray:
    edges = score_edges()
    if risks is None:
        return np.zeros(len(edges) + 1)
    inside = np.clip(risks, _CERTAIN, 1.0 - _CERTAIN)
    places = np.searchsorted(edges, np.log(inside / (1.0 - inside)), side="right")
    return np.bincount(places, minlength=len(edges) + 1).astype(np.float64)
