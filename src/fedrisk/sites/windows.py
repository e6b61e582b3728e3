"""A site's rows by windows of time, read tolerantly: what training refuses is counted here.

A sensor that fails, or begins to tell another unit, is what monitoring looks for, so a value beyond
the hard bounds is no error. All rows take part: on either side of the split, labelled or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import DataError
from fedrisk.models.bins import Places
from fedrisk.sites.cohort import instant
from fedrisk.sites.readers import column_names, read_columns
from fedrisk.sites.validation import Validation, missing_column
from fedrisk.sites.violations import Violations
from fedrisk.study import Feature, Study
from fedrisk.study.columns import Column, TimeArray, distinct
from fedrisk.study.records import BoolArray, Columns
from fedrisk.study.rules import NOT_MISSING, absent_feature, check_feature, wrong_feature_type
from fedrisk.study.values import plain

#: A Monday, at which weeks are counted from.
MONDAY = np.datetime64("1970-01-05", "us")
WEEK = np.timedelta64(7, "D").astype("timedelta64[us]")


@dataclass(frozen=True)
class TimedRows:
    """A site's rows as they stand in its file, in file order; each array has an entry a row.

    Attributes
    ----------
    site : str
    study : Study
    columns : mapping of feature to array
        float64 with NaN, or int32 level codes with -1, where there is no value that fits the study.
    outside : mapping of feature to array of bool
        Where a value is beyond the hard bounds or unreadable; absent where none is.
    times : array of datetime64 or None
        In UTC, NaT where it cannot be read; None where the study has none.
    persons : array of int64
        The same number in all rows of one person, -1 without an id; where the study has no id,
        every row is a person.
    names : tuple of str or None
        The id of each person; None where the study has none.
    labelled, events : array of bool
        Where the label is known and mature, and where it is an event.
    """

    site: str
    study: Study
    columns: Columns
    outside: Mapping[str, BoolArray]
    times: TimeArray | None
    persons: NDArray[np.int64]
    names: tuple[str, ...] | None
    labelled: BoolArray
    events: BoolArray

    def __len__(self) -> int:
        return len(self.persons)

    @property
    def scorable(self) -> BoolArray:
        """Where serving would answer: every value fits, and those that must not lack are there."""
        fits = np.ones(len(self), bool)
        for feature in self.study.features:
            if feature.missing == "reject":
                values = self.columns[feature.name]
                fits &= ~np.isnan(values) if values.dtype.kind == "f" else values >= 0
            if feature.name in self.outside:
                fits &= ~self.outside[feature.name]
        return fits

    def chosen(self, rows: BoolArray | Places) -> TimedRows:
        """Some of the rows."""
        return replace(
            self,
            columns={name: values[rows] for name, values in self.columns.items()},
            outside={name: marks[rows] for name, marks in self.outside.items()},
            times=None if self.times is None else self.times[rows],
            persons=self.persons[rows],
            labelled=self.labelled[rows],
            events=self.events[rows],
        )


def load_rows(study: Study, site: str, path: Path, as_of: datetime) -> TimedRows:
    """Read a site's file for monitoring.

    A column of a feature, or of the label, that the file lacks is missing in every row: a feed that
    broke off.

    Parameters
    ----------
    study : Study
    site : str
    path : Path
        CSV or Parquet, also gzipped.
    as_of : datetime
        Labels that are not yet mature then are not told; naive is UTC.

    Raises
    ------
    DataError
        When the file cannot be read, or lacks the column of times or persons.
    """
    present = column_names(path)
    for name in (study.time, study.id):
        if name is not None and name not in present:
            raise DataError(f"{path}: column {name!r} {missing_column(name, present)}")
    table = read_columns(path, [name for name in study.columns if name in present])
    checked = Validation(study, table, Violations(str(path), limit=0))
    columns, outside = {}, {}
    for feature in study.features:
        column = Column(table[feature.name]) if feature.name in present else None
        columns[feature.name], beyond = _read_feature(feature, column, checked.rows)
        if beyond is not None:
            outside[feature.name] = beyond
    times, ids, (events, known) = checked.times(), checked.ids(), checked.label()
    if study.time is not None and times is None:
        raise DataError(f"{path}: column {study.time!r} holds no dates or times")
    mature = np.ones(checked.rows, bool)
    if times is not None:
        mature = times <= instant(as_of) - np.timedelta64(study.maturity, "us")
    values, persons = (None, np.arange(checked.rows)) if ids is None else distinct(ids)
    labelled = known & mature
    return TimedRows(
        site=site,
        study=study,
        columns=columns,
        outside=outside,
        times=times,
        persons=persons,
        names=None if values is None else tuple(plain(value) for value in values),
        labelled=labelled,
        events=events & labelled,
    )


def _read_feature(
    feature: Feature, column: Column | None, rows: int
) -> tuple[NDArray[Any], BoolArray | None]:
    """Values, and where there is one that does not fit the study, if anywhere."""
    if column is None:
        return absent_feature(feature, rows), None
    if wrong_feature_type(feature, column.raw.type):
        return absent_feature(feature, rows), ~column.missing
    checked = check_feature(feature, column)
    faults = [wrong for rule, wrong in checked.faults if rule != NOT_MISSING]
    return checked.values, np.logical_or.reduce(faults) if faults else None


@dataclass(frozen=True)
class Cut:
    """Rows cut into disjoint windows.

    Attributes
    ----------
    start, end : (windows,) array of datetime64
        In order; the end is not part of a window.
    window : (rows,) array of int
        Each row's window; -1 where it is in none.
    """

    start: TimeArray
    end: TimeArray
    window: Places

    def __len__(self) -> int:
        return len(self.start)


def whole(rows: TimedRows, as_of: datetime) -> Cut:
    """All rows in one window, since 1970 until a time: of a study without times."""
    start, end = np.array([np.datetime64(0, "us")]), np.array([instant(as_of)])
    return Cut(start, end, np.zeros(len(rows), np.intp))


def places_in(times: TimeArray, starts: TimeArray, ends: TimeArray) -> Places:
    """Which of some disjoint windows, in order, a time is in; -1 where in none, or no time."""
    if not len(starts):
        return np.full(len(times), -1)
    place = np.searchsorted(starts, times, side="right") - 1
    inside = (place >= 0) & (times < ends[place])
    return np.where(inside, place, -1)


def latest_weeks(times: TimeArray, weeks: int) -> tuple[TimeArray, TimeArray]:
    """The latest weeks in which there are rows, in order, at most so many; Monday to Monday, UTC.

    >>> times = np.array(["2025-01-05T12", "2025-01-06", "2025-01-20"], "datetime64[us]")
    >>> [str(start)[:10] for start in latest_weeks(times, 2)[0]]
    ['2025-01-06', '2025-01-20']
    """
    known = times[~np.isnat(times)]
    starts = MONDAY + np.unique((known - MONDAY) // WEEK)[-weeks:] * WEEK
    return starts, starts + WEEK


def count_distinct(window: Places, values: NDArray[np.int64], windows: int) -> NDArray[np.float64]:
    """Different values in each window, ``(windows,)``."""
    held = window >= 0
    pairs = np.unique(np.stack([window[held], values[held]]), axis=1)
    return np.bincount(pairs[0], minlength=windows).astype(np.float64)
