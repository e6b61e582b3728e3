"""Checks a site's columns against the study, each rule on a whole column at once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedrisk.sites.labels import read_label
from fedrisk.sites.violations import Violations
from fedrisk.study import Feature, Study
from fedrisk.study.columns import Column, TimeArray, read_levels, read_times, read_truths
from fedrisk.study.records import BoolArray
from fedrisk.study.rules import (
    FINITE,
    NOT_MISSING,
    absent_feature,
    check_feature,
    wrong_feature_type,
    wrong_type,
)

if TYPE_CHECKING:
    import pyarrow as pa

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
        self._columns = {name: Column(table[name]) for name in table.column_names}

    def column(self, name: str | None, role: str, expected: str) -> Column | None:
        """Look up a column whose type fits; None, and a violation, where it does not."""
        column = self._columns.get(name) if name is not None else None
        if name is None or column is None:
            return None
        if not (rule := wrong_type(column.raw.type, role, expected)):
            return column
        self.found.add_column(name, rule)
        return None

    def features(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every feature as floats (NaN is missing) or level codes (-1 is missing)."""
        return {feature.name: self._feature(feature) for feature in self.study.features}

    def _feature(self, feature: Feature) -> np.ndarray[Any, Any]:
        column = self._columns.get(feature.name)
        if column is None:
            return absent_feature(feature, self.rows)
        if rule := wrong_feature_type(feature, column.raw.type):
            self.found.add_column(feature.name, rule)
            return absent_feature(feature, self.rows)
        checked = check_feature(feature, column)
        for rule, wrong in checked.faults:
            self.found.add(feature.name, column, wrong, rule)
        return checked.values

    def label(self) -> tuple[BoolArray, BoolArray]:
        """Events and whether the label is known, ``(rows,)`` each."""
        column = self.column(self.study.label, "value", "must be a value of the label")
        if column is None:
            return np.zeros(self.rows, bool), np.zeros(self.rows, bool)
        events, not_finite = read_label(column, self.study.positive)
        self.found.add(self.study.label, column, not_finite, FINITE)
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
        codes, _ = read_levels(column, SIDES)
        self.found.add(name, column, codes < 0, "must be train or test")
        test: BoolArray = codes == SIDES.index("test")
        return test
