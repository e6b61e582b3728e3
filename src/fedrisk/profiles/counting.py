"""Count rows that come one at a time, as they are scored, and rows in arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedrisk.models.bins import feature_edges
from fedrisk.models.checks import columns_from_rows
from fedrisk.profiles.moments import moments
from fedrisk.profiles.profile import Profile, score_edges
from fedrisk.study import Study
from fedrisk.study.records import Columns, FloatArray

#: Rows that are counted together.
TOGETHER = 256
#: Nearest to certainty that a score's log-odds are taken at.
_CERTAIN = 1e-15


class RowCounter:
    """Counts of the rows since the last `take`.

    Rows are noted as they come and counted together, `TOGETHER` at a time or when somebody looks:
    a row by itself would cost five times as much. Those that wait are in memory alone.

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
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        self._counted = Profile.empty(self._study)
        self._rows: list[Mapping[str, Any]] = []
        self._risks: list[float] = []

    @property
    def rows(self) -> int:
        return int(self._counted.rows) + len(self._rows)

    def add(self, row: Mapping[str, Any], risk: float) -> None:
        """Count a row that fits the study, None where a value is missing, and its risk."""
        self._rows.append(row)
        self._risks.append(risk)
        if len(self._rows) >= TOGETHER:
            self._count()

    def _count(self) -> None:
        rows, risks = self._rows, np.array(self._risks, np.float64)
        self._rows, self._risks = [], []
        columns = columns_from_rows(self._study, rows)
        self._counted = self._counted + profile_columns(self._study, columns, risks)

    def take(self) -> Profile:
        """The profile of what was counted; counting starts anew."""
        counted = self.profile()
        self.reset()
        return counted

    def profile(self) -> Profile:
        """The profile of what was counted so far."""
        if self._rows:
            self._count()
        return self._counted


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
    return Profile(
        study=study.hash,
        rows=float(rows),
        numbers=numbers,
        categories=categories,
        missing=missing,
        scores=_scores(risks),
        moments=moments(study, columns),
    )


def _scores(risks: FloatArray | None) -> FloatArray:
    edges = score_edges()
    if risks is None:
        return np.zeros(len(edges) + 1)
    inside = np.clip(risks, _CERTAIN, 1.0 - _CERTAIN)
    places = np.searchsorted(edges, np.log(inside / (1.0 - inside)), side="right")
    return np.bincount(places, minlength=len(edges) + 1).astype(np.float64)
