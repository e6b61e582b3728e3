"""Checks a site's columns against the study, each rule on a whole column at once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedrisk.sites.labels import read_label
from fedrisk.sites.values import (
    Column,
    TimeArray,
    read_levels,
    read_numbers,
    read_times,
    read_truths,
    type_fits,
)
from fedrisk.sites.violations import Violations
from fedrisk.study import CategoryFeature, NumberFeature, Study
from fedrisk.study.records import BoolArray, CodeArray, FloatArray

if TYPE_CHECKING:
    import pyarrow as pa

NOT_MISSING = "must not be missing"
SIDES = ("train", "test")


def check_names(study: Study, present: Sequence[str], found: Violations) -> list[str]:
    """Record the study's columns that a file lacks; return those it has."""
    for name in study.columns:
        if name not in present:
            found.add_column(name, missing_column(name, present))
    return [name for name in study.columns if name in present]


def missing_column(name: str, present: Sequence[str]) -> str:
    """Say that a column is not in a file, which it might be, and what the file has."""
    folded = {other.strip().lower(): other for other in present}
    near = difflib.get_close_matches(name.lower(), list(folded), n=3, cutoff=0.6)
    meant = f"; did you mean {', '.join(repr(folded[n]) for n in near)}?" if near else ""
    shown = ", ".join(present[:50]) + (", ..." if len(present) > 50 else "")
    return f"is not in the file{meant} (the file has: {shown})"


class Validation:
    """Reads the study's columns of one file and records what breaks a rule.

    Parameters
    ----------
    study : Study
    table : pyarrow.Table
        Columns of the file; those the study names and the file lacks are skipped.
    found : Violations
        Receives every violation.
    """

    def __init__(self, study: Study, table: pa.Table, found: Violations) -> None:
        self.study = study
        self.found = found
        self.rows: int = table.num_rows
        self._columns = {name: Column.of(table[name]) for name in table.column_names}

    def column(self, name: str | None, role: str, expected: str) -> Column | None:
        """Look up a column whose type fits; None, and a violation, where it does not."""
        column = self._columns.get(name) if name is not None else None
        if name is None or column is None:
            return None
        if type_fits(column.raw.type, role):
            return column
        self.found.add_column(name, f"{expected}; the file has it as {column.raw.type}")
        return None

    def features(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every feature as floats (NaN is missing) or level codes (-1 is missing)."""
        checked: dict[str, np.ndarray[Any, Any]] = {}
        for feature in self.study.features:
            if isinstance(feature, NumberFeature):
                checked[feature.name] = self._number(feature)
            else:
                checked[feature.name] = self._category(feature)
        return checked

    def _number(self, feature: NumberFeature) -> FloatArray:
        column = self.column(feature.name, "number", "must be a number")
        if column is None:
            return np.full(self.rows, np.nan)
        values, unreadable = read_numbers(column)
        infinite = ~np.isfinite(values) & ~unreadable & ~column.missing
        low = -np.inf if feature.minimum is None else feature.minimum
        high = np.inf if feature.maximum is None else feature.maximum
        outside = ((values < low) | (values > high)) & ~infinite
        self.found.add(feature.name, column, unreadable, "must be a number")
        self.found.add(feature.name, column, infinite, "must be finite")
        self.found.add(feature.name, column, outside, feature.bounds_text)
        self._missing(feature, column)
        return values

    def _category(self, feature: CategoryFeature) -> CodeArray:
        column = self.column(feature.name, "value", feature.bounds_text)
        if column is None:
            return np.full(self.rows, -1, np.int32)
        codes, unknown = read_levels(column, feature.levels)
        self.found.add(feature.name, column, unknown, feature.bounds_text)
        self._missing(feature, column)
        return codes

    def _missing(self, feature: NumberFeature | CategoryFeature, column: Column) -> None:
        if feature.missing == "reject":
            self.found.add(feature.name, column, column.missing, NOT_MISSING)

    def label(self) -> tuple[BoolArray, BoolArray]:
        """Events and whether the label is known, ``(rows,)`` each."""
        column = self.column(self.study.label, "value", "must be a value of the label")
        if column is None:
            return np.zeros(self.rows, bool), np.zeros(self.rows, bool)
        events, not_finite = read_label(column, self.study.positive)
        self.found.add(self.study.label, column, not_finite, "must be finite")
        return events, ~column.missing

    def times(self) -> TimeArray | None:
        """Index time of each row in UTC; None where the study has none."""
        name = self.study.time
        column = self.column(name, "time", "must be a date or time")
        if name is None or column is None:
            return None
        times, unreadable = read_times(column)
        rule = "must be a date or time as in 2024-05-31 or 2024-05-31T08:30:00+02:00"
        self.found.add(name, column, unreadable, rule)
        self.found.add(name, column, column.missing, NOT_MISSING)
        return times

    def treated(self) -> BoolArray:
        """Where the score led to care; false everywhere when the study does not say."""
        name = self.study.treated
        column = self.column(name, "value", "must be a truth value")
        if name is None or column is None:
            return np.zeros(self.rows, bool)
        truths, unreadable = read_truths(column)
        self.found.add(name, column, unreadable, "must be true or false, yes or no, 1 or 0")
        self.found.add(name, column, column.missing, NOT_MISSING)
        return truths

    def ids(self) -> Column | None:
        """The column that names each row's person; None where the study has none."""
        name = self.study.id
        column = self.column(name, "value", "must be text or a number")
        if name is not None and column is not None:
            self.found.add(name, column, column.missing, NOT_MISSING)
        return column

    def declared_test(self) -> BoolArray | None:
        """The test rows as the study's split column says; None where it has none."""
        name = self.study.split
        column = self.column(name, "value", "must be train or test")
        if name is None or column is None:
            return None
        codes, unknown = read_levels(column, SIDES)
        self.found.add(name, column, unknown | column.missing, "must be train or test")
        test: BoolArray = codes == SIDES.index("test")
        return test
