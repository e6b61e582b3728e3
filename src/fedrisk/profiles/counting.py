"""Count rows that come one at a time, as they are scored, and rows in arrays, by windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.models.bins import Places, bin_places, feature_edges
from fedrisk.models.checks import columns_from_rows
from fedrisk.profiles.moments import moments
from fedrisk.profiles.profile import Profile, score_edges
from fedrisk.study import CategoryFeature, Feature, Study
from fedrisk.study.records import BoolArray, Columns, FloatArray

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
        counts = np.bincount(bin_places(present, edges), minlength=len(edges) + 1)
        numbers[feature.name] = counts.astype(np.float64)
        missing[feature.name] = float(rows - len(present))
    for level_feature in study.categories:
        codes = columns[level_feature.name]
        counts = np.bincount(codes + 1, minlength=len(level_feature.levels) + 1)
        categories[level_feature.name] = counts[1:].astype(np.float64)
        missing[level_feature.name] = float(counts[0])
    places = np.zeros(0, np.intp) if risks is None else score_places(log_odds(risks))
    scores = np.bincount(places, minlength=len(score_edges()) + 1).astype(np.float64)
    return Profile(
        study=study.hash,
        rows=float(rows),
        numbers=numbers,
        categories=categories,
        missing=missing,
        scores=scores,
        moments=moments(study, columns),
    )


def log_odds(risks: FloatArray) -> FloatArray:
    """Log-odds of risks, finite also at 0 and 1."""
    inside = np.clip(risks, _CERTAIN, 1.0 - _CERTAIN)
    return np.log(inside / (1.0 - inside))


def score_places(logits: FloatArray) -> Places:
    """The score bin of each row."""
    return bin_places(logits, score_edges())


@dataclass(frozen=True)
class Rows:
    """Rows as they are counted by windows; each array has an entry a row.

    Attributes
    ----------
    columns : mapping of feature to array
        Floats with NaN, or level codes with -1, where there is no value that fits the study.
    outside : mapping of feature to array of bool
        Where a value is beyond the hard bounds or unreadable; absent where none is.
    places : array of int
        Score bin (`score_places`); -1 where a row is not scored.
    labelled, events : array of bool
        Where the label is mature, and where it is an event.
    """

    columns: Columns
    outside: Mapping[str, BoolArray]
    places: Places
    labelled: BoolArray
    events: BoolArray

    def chosen(self, rows: BoolArray) -> Rows:
        """Some of the rows."""
        return Rows(
            {name: values[rows] for name, values in self.columns.items()},
            {name: marks[rows] for name, marks in self.outside.items()},
            self.places[rows],
            self.labelled[rows],
            self.events[rows],
        )


def count_windows(study: Study, rows: Rows, window: Places, windows: int) -> FloatArray:
    """Counts of every window as a table, ``(windows, cells)``.

    The cells are in the order of `fedrisk.profiles.cells.Cells`.

    Parameters
    ----------
    study : Study
    rows : Rows
    window : (rows,) array of int
        Each row's window, from 0.
    windows : int
    """
    held, missing, outside = {}, [], []
    for feature in study.features:
        places, width = feature_places(feature, rows.columns[feature.name])
        # The last place is that of rows without a value.
        counts = _tally(places, window, windows, width + 1)
        beyond = _marked(rows.outside.get(feature.name), window, windows)
        held[feature.name] = counts[:, :-1]
        missing.append(counts[:, -1] - beyond)
        outside.append(beyond)
    names = [*(f.name for f in study.numbers), *(f.name for f in study.categories)]
    parts = [held[name] for name in names]
    features = (np.array(missing).T, np.array(outside).T)
    scores = _scores(rows, window, windows)
    return np.hstack([*parts, *features, *scores, _moments(study, rows.columns, window, windows)])


def feature_places(feature: Feature, values: NDArray[Any]) -> tuple[Places, int]:
    """The bin or level of each value, and how many there are; that number where none is."""
    if isinstance(feature, CategoryFeature):
        width = len(feature.levels)
        return np.where(values < 0, width, values).astype(np.intp), width
    edges = feature_edges(feature)
    width, absent = len(edges) + 1, np.isnan(values)
    if not absent.any():
        return bin_places(values, edges), width
    places = np.full(len(values), width)
    places[~absent] = bin_places(values[~absent], edges)
    return places, width


def _tally(places: Places, window: Places, windows: int, width: int) -> FloatArray:
    """Rows by window and place, ``(windows, width)``."""
    both = places if windows == 1 else window * width + places
    return np.bincount(both, minlength=windows * width).reshape(windows, width).astype(np.float64)


def _moments(study: Study, columns: Columns, window: Places, windows: int) -> FloatArray:
    """Cross products of the numbers, ``(windows, (1 + numbers)^2)``."""
    if windows == 1:
        return moments(study, columns).reshape(1, -1)
    order = np.argsort(window, kind="stable")
    ends = np.cumsum(np.bincount(window, minlength=windows))
    table = np.zeros((windows, (1 + len(study.numbers)) ** 2))
    for place, chosen in enumerate(np.split(order, ends)[:windows]):
        part = {name: values[chosen] for name, values in columns.items()}
        table[place] = moments(study, part).ravel()
    return table


def _marked(marks: BoolArray | None, window: Places, windows: int) -> FloatArray:
    """Rows with a mark, by window; none where nothing is marked."""
    chosen = window[:0] if marks is None else window[marks]
    return np.bincount(chosen, minlength=windows).astype(np.float64)


def _scores(rows: Rows, window: Places, windows: int) -> list[FloatArray]:
    """Rows, labelled rows and events by score bin, ``(windows, 194)`` each."""
    scored = rows.places >= 0
    chosen = (scored, scored & rows.labelled, scored & rows.labelled & rows.events)
    width = len(score_edges()) + 1
    return [_tally(rows.places[each], window[each], windows, width) for each in chosen]
