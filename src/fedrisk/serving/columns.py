"""From a file's Arrow columns to feature columns, with every value that breaks the study.

Text and typed columns take the same rules as at the sites that trained the model, so that a row
scores as it would have been learned from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fedrisk.errors import DataError, Violation
from fedrisk.serving.text import MISSING, NOT_FINITE, NUMBER, LevelReader
from fedrisk.study import CategoryFeature, Feature, NumberFeature, Study
from fedrisk.study.records import BoolArray, CodeArray, FloatArray

if TYPE_CHECKING:
    import pyarrow as pa

#: Violations that are kept with row and value; all are counted.
RECORDED = 1000
#: Characters of an offending value that are told.
VALUE_LENGTH = 80


@dataclass
class Block:
    """Some consecutive rows, ready to score.

    Attributes
    ----------
    columns : dict
        By feature: float64 with NaN, or int32 codes with -1, where a value is missing or wrong.
    wrong : (rows,) array of bool
        Rows with a value that breaks the study.
    violations : list of Violation
        At most `RECORDED` of them.
    total : int
        How many violations there are.
    """

    columns: dict[str, Any]
    wrong: BoolArray
    violations: list[Violation] = field(default_factory=list)
    total: int = 0


class BlockReader:
    """Reads blocks of one file.

    Parameters
    ----------
    study : Study
    file : str
        The file as the caller named it.
    """

    def __init__(self, study: Study, file: str) -> None:
        self.study = study
        self.file = file
        self._levels = {f.name: LevelReader(f.levels) for f in study.categories}

    def check_names(self, present: Sequence[str]) -> None:
        """Refuse a file that lacks a feature, has it twice, or has scores already.

        Raises
        ------
        DataError
        """
        found = [
            Violation(self.file, None, name, "", rule)
            for name in (*self.study.feature_names, "risk_score", "risk_level")
            if (rule := self._name_rule(name, list(present).count(name)))
        ]
        if found:
            raise DataError(f"{self.file} does not have the columns to score", found)

    def _name_rule(self, name: str, count: int) -> str:
        if name not in self.study.feature_names:
            return "is there already: leave it out or rename it" if count else ""
        return "" if count == 1 else "is not in the file" if not count else "is there twice"

    def read(self, arrays: Mapping[str, pa.Array], first_row: int) -> Block:
        """Read a block.

        Parameters
        ----------
        arrays : mapping of feature name to (rows,) Arrow array
            Text or numbers; null and NaN are missing.
        first_row : int
            Data row of the block's first one; the file's first is 1.
        """
        rows = len(next(iter(arrays.values())))
        block = Block({}, np.zeros(rows, bool))
        for feature in self.study.features:
            array = _plain_array(arrays[feature.name])
            if isinstance(feature, NumberFeature):
                block.columns[feature.name] = self._number(feature, array, block, first_row)
            else:
                block.columns[feature.name] = self._category(feature, array, block, first_row)
        block.violations.sort(key=lambda violation: violation.row or 0)
        return block

    def _number(
        self, feature: NumberFeature, array: pa.Array, block: Block, first: int
    ) -> FloatArray:
        values, missing, unreadable = read_numbers(array, self.file, feature)
        # One comparison chain over the column in the usual case; rules apart when it fails.
        low = -np.inf if feature.minimum is None else feature.minimum
        high = np.inf if feature.maximum is None else feature.maximum
        fits = np.isfinite(values) & (values >= low) & (values <= high)
        if feature.missing == "allow":
            fits |= missing
        if fits.all():
            return values
        infinite = ~np.isfinite(values) & ~missing & ~unreadable
        outside = ((values < low) | (values > high)) & ~infinite
        for wrong, rule in (
            (unreadable, "must be a number"),
            (infinite, "must be finite"),
            (outside, feature.bounds_text),
        ):
            self._note(block, feature, array, wrong, rule, first)
        self._note_missing(block, feature, array, missing, first)
        values[~fits] = np.nan
        return values

    def _category(
        self, feature: CategoryFeature, array: pa.Array, block: Block, first: int
    ) -> CodeArray:
        codes = read_codes(array, self.file, feature, self._levels[feature.name])
        unknown = codes == LevelReader.UNKNOWN
        self._note(block, feature, array, unknown, feature.bounds_text, first)
        self._note_missing(block, feature, array, codes == LevelReader.MISSING, first)
        codes[unknown] = LevelReader.MISSING
        return codes

    def _note_missing(
        self, block: Block, feature: Feature, array: pa.Array, missing: BoolArray, first: int
    ) -> None:
        if feature.missing == "reject":
            self._note(block, feature, array, missing, "must not be missing", first)

    def _note(
        self,
        block: Block,
        feature: Feature,
        array: pa.Array,
        wrong: BoolArray,
        rule: str,
        first: int,
    ) -> None:
        if not wrong.any():
            return
        block.wrong |= wrong
        rows = np.flatnonzero(wrong)
        block.total += len(rows)
        rows = rows[: RECORDED - len(block.violations)]
        for row, value in zip(rows.tolist(), array.take(rows).to_pylist(), strict=True):
            text = "" if value is None else str(value)[:VALUE_LENGTH]
            block.violations.append(Violation(self.file, first + row, feature.name, text, rule))


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds text."""
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _plain_array(array: pa.Array) -> pa.Array:
    """Without a dictionary around values that are not text, and without the type of no values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(array.type):
        return pc.cast(array, pa.string())
    if pa.types.is_dictionary(array.type) and not is_text(array.type.value_type):
        return pc.cast(array, array.type.value_type)
    return array


def read_numbers(
    array: pa.Array, file: str, feature: Feature
) -> tuple[FloatArray, BoolArray, BoolArray]:
    """Read numbers.

    Returns
    -------
    values : (rows,) array of float64
        NaN where missing or unreadable; infinities are kept.
    missing, unreadable : (rows,) array of bool

    Raises
    ------
    DataError
        When the column is neither text nor numbers.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        array = pc.cast(array, pa.string())
    if is_text(array.type):
        return _numbers_of_text(array)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise _wrong_type(file, feature, kind, "must be a number")
    values = _floats(pc.cast(array, pa.float64(), safe=False))
    return values, np.isnan(values), np.zeros(len(values), bool)


def _floats(array: pa.Array) -> FloatArray:
    values: FloatArray = array.to_numpy(zero_copy_only=False)
    # Arrow's own memory is read-only.
    return values if values.flags.writeable else values.copy()


def _mask(array: pa.Array) -> BoolArray:
    import pyarrow.compute as pc

    mask: BoolArray = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return mask


def _numbers_of_text(array: pa.Array) -> tuple[FloatArray, BoolArray, BoolArray]:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(pc.cast(array, pa.large_string()))
    absent = pc.is_in(text, value_set=pa.array(MISSING, pa.large_string()))
    missing = _mask(absent) | _mask(pc.is_null(text))
    number = _mask(pc.match_substring_regex(text, NUMBER))
    unreadable = ~number & ~missing & ~_mask(pc.match_substring_regex(text, NOT_FINITE))
    values = np.full(len(text), np.nan)
    # Arrow reads no leading plus, and the rest exactly as Python's float.
    digits = pc.utf8_ltrim(text.filter(pa.array(number)), characters="+")
    values[number] = _floats(pc.cast(digits, pa.float64()))
    return values, missing, unreadable


def read_codes(
    array: pa.Array, file: str, feature: CategoryFeature, reader: LevelReader
) -> CodeArray:
    """Read levels, ``(rows,)``: places among them, or the reader's ``MISSING`` or ``UNKNOWN``.

    Raises
    ------
    DataError
        When the column's type cannot hold levels.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if not pa.types.is_dictionary(kind):
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not (is_text(kind) or number or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)):
            raise _wrong_type(file, feature, kind, feature.bounds_text)
        array = pc.dictionary_encode(array)
    values = [None if is_nan(value) else value for value in array.dictionary.to_pylist()]
    table = np.array([*(reader.code(value) for value in values), reader.MISSING], np.int32)
    codes: CodeArray = table[pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False)]
    return codes


def is_nan(value: object) -> bool:
    """Whether a value is a float that stands for none."""
    return isinstance(value, float) and math.isnan(value)


def _wrong_type(file: str, feature: Feature, kind: pa.DataType, rule: str) -> DataError:
    found = Violation(file, None, feature.name, "", f"{rule}; the file has it as {kind}")
    return DataError(f"{file}: column {feature.name!r} has a type that cannot be scored", [found])
