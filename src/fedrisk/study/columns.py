"""A file's column as numbers, levels, times or truth values: vectorised, naming what does not fit.

Text from CSV and typed values from Parquet take the same way, so that both formats of the same
data give the same rows. `MISSING` texts, nulls and (in Parquet) NaN are missing values. The rules
are those of `fedrisk.study.values`; a caller brings the column, no file is opened here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.study.records import BoolArray, CodeArray, FloatArray
from fedrisk.study.values import MISSING, NUMBER, LevelReader, plain

if TYPE_CHECKING:
    import pyarrow as pa

TimeArray = NDArray[np.datetime64]

TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Column:
    """One column of a file, or of a block of its rows.

    Parameters
    ----------
    raw : pyarrow.Array or pyarrow.ChunkedArray
        Values as they stand in the file.
    """

    raw: pa.Array | pa.ChunkedArray

    @cached_property
    def clean(self) -> pa.Array:
        """The values in one array; text without white space around it, missing ones as nulls."""
        import pyarrow as pa
        import pyarrow.compute as pc

        array = _one_array(self.raw)
        if pa.types.is_dictionary(array.type):
            array = _large(pc.cast(array, array.type.value_type))
        return _nulls_for_missing(array)

    @cached_property
    def missing(self) -> BoolArray:
        """Where there is no value, ``(rows,)``."""
        missing: BoolArray = self.clean.is_null().to_numpy(zero_copy_only=False)
        return missing

    def encoded(self) -> pa.DictionaryArray:
        """The values as they stand in the file, each distinct one once."""
        import pyarrow as pa
        import pyarrow.compute as pc

        array = _one_array(self.raw)
        return array if pa.types.is_dictionary(array.type) else pc.dictionary_encode(array)

    def texts(self, rows: NDArray[np.intp], longest: int = 80) -> list[str]:
        """Values of some rows as text for people; long ones are cut."""
        values = ["" if value is None else str(value) for value in self.raw.take(rows).to_pylist()]
        return [text if len(text) <= longest else text[: longest - 1] + "…" for text in values]


def _one_array(raw: pa.Array | pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    if not isinstance(raw, pa.ChunkedArray):
        return _large(raw)
    if pa.types.is_dictionary(raw.type):
        raw = raw.unify_dictionaries()
    return _large(raw).combine_chunks()


def _large(array: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Text with room for more than 2 GiB a column, which is where plain strings end."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.types.is_null(array.type) or is_text(array.type)
    return pc.cast(array, pa.large_string()) if text else array


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds text."""
    import pyarrow as pa

    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _nulls_for_missing(array: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_text(array.type):
        text = pc.utf8_trim_whitespace(array)
        absent = pc.is_in(text, value_set=pa.array(MISSING, pa.large_string()))
        return pc.if_else(absent, pa.scalar(None, pa.large_string()), text)
    if pa.types.is_floating(array.type) and pc.any(pc.is_nan(array)).as_py():
        return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    return array


def type_fits(kind: pa.DataType, role: str) -> bool:
    """Whether values of an Arrow type may stand in a column of this role.

    Parameters
    ----------
    kind : pyarrow.DataType
    role : {"number", "time", "value"}
        A value is what can be written as a short text: text, a number, a truth value.
    """
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return type_fits(kind.value_type, role)
    if is_text(kind) or types.is_null(kind):
        return True
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if role == "number":
        return bool(number)
    if role == "time":
        return bool(types.is_timestamp(kind) or types.is_date(kind))
    return bool(number or types.is_boolean(kind))


def _mask(array: pa.Array) -> BoolArray:
    import pyarrow.compute as pc

    mask: BoolArray = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return mask


def read_numbers(column: Column) -> tuple[FloatArray, BoolArray]:
    """Read numbers.

    Returns
    -------
    values : (rows,) array of float64
        NaN where missing or unreadable; infinities are kept for the caller to judge.
    unreadable : (rows,) array of bool
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    none = np.zeros(len(column.clean), bool)
    if not is_text(column.clean.type):
        return _floats(pc.cast(column.clean, pa.float64(), safe=False)), none
    try:
        values = _floats(pc.cast(column.clean, pa.float64()))
        if np.isnan(values).sum() == column.clean.null_count:  # Arrow takes nan(anything) for NaN
            return values, none
    except pa.ArrowInvalid:
        pass
    readable = _mask(pc.match_substring_regex(column.clean, NUMBER))
    values = np.full(len(readable), np.nan)
    values[readable] = _floats(pc.cast(column.clean.filter(pa.array(readable)), pa.float64()))
    return values, ~readable & ~column.missing


def _floats(array: pa.Array) -> FloatArray:
    values: FloatArray = array.to_numpy(zero_copy_only=False)
    # Arrow's own memory is read-only, and callers write.
    return values if values.flags.writeable else values.copy()


def distinct(column: Column) -> tuple[list[Any], NDArray[np.int64]]:
    """Find the distinct values.

    Returns
    -------
    values : list
        Each once, in order of first appearance.
    places : (rows,) array of int64
        Which of them a row has; -1 where missing.
    """
    import pyarrow.compute as pc

    encoded = pc.dictionary_encode(column.clean)
    places = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return encoded.dictionary.to_pylist(), places


def map_distinct(column: Column, read: Callable[[Any], int]) -> NDArray[np.int64]:
    """Apply a function to each distinct value once, ``(rows,)``; -1 where missing."""
    values, places = distinct(column)
    table = np.array([*(read(value) for value in values), -1], np.int64)
    return table[places]


def read_levels(column: Column, levels: Sequence[str]) -> tuple[CodeArray, BoolArray]:
    """Read levels of a category.

    Returns
    -------
    codes : (rows,) array of int32
        Place in ``levels``; -1 where missing or unknown.
    unknown : (rows,) array of bool
    """
    import pyarrow.compute as pc

    reader, encoded = LevelReader(levels), column.encoded()
    values = encoded.dictionary.to_pylist()
    table = np.array([*(reader.code(value) for value in values), reader.MISSING], np.int32)
    codes = table[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)]
    unknown: BoolArray = codes == reader.UNKNOWN
    codes[unknown] = reader.MISSING
    return codes, unknown


def read_truths(column: Column) -> tuple[BoolArray, BoolArray]:
    """Read truth values: true or false, yes or no, 1 or 0, in any case.

    Returns
    -------
    truths : (rows,) array of bool
        False where missing or unreadable.
    unreadable : (rows,) array of bool
    """
    codes = map_distinct(column, lambda value: int(TRUTH.get(plain(value).lower(), -1)))
    return codes == 1, (codes < 0) & ~column.missing


def read_times(column: Column) -> tuple[TimeArray, BoolArray]:
    """Read ISO 8601 dates and times; one without an offset is UTC.

    Returns
    -------
    times : (rows,) array of datetime64[us]
        In UTC; NaT where missing or unreadable.
    unreadable : (rows,) array of bool
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not is_text(column.clean.type):
        return _instants(column.clean), np.zeros(len(column.clean), bool)
    for zone in (None, "UTC"):  # all without an offset, or all with one: fast
        try:
            times = _instants(pc.cast(column.clean, pa.timestamp("us", zone)))
            return times, np.zeros(len(times), bool)
        except pa.ArrowInvalid:
            continue
    lowest = np.iinfo(np.int64).min  # NaT
    instants = map_distinct(column, lambda text: _microseconds(str(text), lowest))
    times = np.where(column.missing, lowest, instants).view("datetime64[us]")
    return times, np.isnat(times) & ~column.missing


def _instants(array: pa.Array) -> TimeArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    times = pc.cast(array, pa.timestamp("us"), safe=False)
    return np.asarray(times.to_numpy(zero_copy_only=False), "datetime64[us]")


def _microseconds(text: str, unreadable: int) -> int:
    try:
        time = datetime.fromisoformat(text)
        zoned = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return unreadable
    since = zoned - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
