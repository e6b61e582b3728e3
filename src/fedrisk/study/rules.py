"""The rules of a study's features, each on a whole column at once, and their wording.

Sites check their rows by these functions before they train, and scoring does before it answers:
what one takes, the other takes, and reads as the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.study.columns import Column, read_levels, read_numbers, type_fits
from fedrisk.study.features import LARGEST, TOO_LARGE, CategoryFeature, Feature, NumberFeature
from fedrisk.study.records import BoolArray, FloatArray

if TYPE_CHECKING:
    import pyarrow as pa

NOT_MISSING = "must not be missing"
A_NUMBER = "must be a number"
FINITE = "must be finite"


@dataclass
class Checked:
    """A feature's column, read and checked.

    Attributes
    ----------
    values : (rows,) array
        float64 with NaN, or int32 codes with -1, where a value is missing or breaks a rule.
    faults : list of (str, (rows,) array of bool)
        Each rule that is broken, in words, and the rows that break it.
    """

    values: NDArray[Any]
    faults: list[tuple[str, BoolArray]] = field(default_factory=list)

    def note(self, rule: str, wrong: BoolArray) -> None:
        """Keep a rule if some row breaks it."""
        if wrong.any():
            self.faults.append((rule, wrong))


def wrong_type(kind: pa.DataType, role: str, expected: str) -> str:
    """The rule that a column's type breaks, in words; empty where it fits the role."""
    return "" if type_fits(kind, role) else f"{expected}; the file has it as {kind}"


def wrong_feature_type(feature: Feature, kind: pa.DataType) -> str:
    """The rule that the type of a feature's column breaks, in words; empty where it fits."""
    if isinstance(feature, NumberFeature):
        return wrong_type(kind, "number", A_NUMBER)
    return wrong_type(kind, "value", feature.bounds_text)


def check_feature(feature: Feature, column: Column) -> Checked:
    """Read and check a feature's column, whose type must fit."""
    if isinstance(feature, NumberFeature):
        return _check_number(feature, column)
    return _check_category(feature, column)


def absent_feature(feature: Feature, rows: int) -> NDArray[Any]:
    """Values of a feature that was not read: missing in every row."""
    if isinstance(feature, NumberFeature):
        return np.full(rows, np.nan)
    return np.full(rows, -1, np.int32)


def _check_number(feature: NumberFeature, column: Column) -> Checked:
    values, unreadable = read_numbers(column)
    low, high = feature.limits
    # One chain over the column in the usual case; the rules apart when it fails.
    fits = np.isfinite(values) & (values >= low) & (values <= high)
    if feature.missing == "allow":
        fits |= column.missing
    checked = Checked(values)
    if fits.all():
        return checked
    finite = np.isfinite(values)
    checked.note(A_NUMBER, unreadable)
    checked.note(FINITE, ~finite & ~column.missing & ~unreadable)
    outside = finite & ~fits
    undeclared = _beyond_undeclared(feature, values)
    checked.note(feature.bounds_text, outside & ~undeclared)
    checked.note(TOO_LARGE, outside & undeclared)
    if feature.missing == "reject":
        checked.note(NOT_MISSING, column.missing)
    values[~fits] = np.nan
    return checked


def _beyond_undeclared(feature: NumberFeature, values: FloatArray) -> BoolArray:
    """Where a value is too large, on a side where the study declares no bound."""
    wrong = np.zeros(len(values), bool)
    if feature.minimum is None:
        wrong |= values < -LARGEST
    if feature.maximum is None:
        wrong |= values > LARGEST
    return wrong


def _check_category(feature: CategoryFeature, column: Column) -> Checked:
    codes, unknown = read_levels(column, feature.levels)
    checked = Checked(codes)
    checked.note(feature.bounds_text, unknown)
    if feature.missing == "reject":
        checked.note(NOT_MISSING, (codes < 0) & ~unknown)
    return checked
