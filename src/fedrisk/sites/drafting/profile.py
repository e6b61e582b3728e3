"""What the columns of several sites hold, as aggregates: enough to propose a feature for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from fedrisk.errors import DataError
from fedrisk.sites.readers import column_names, read_columns
from fedrisk.study.columns import Column, distinct, read_numbers, read_times, type_fits
from fedrisk.study.features import LARGEST
from fedrisk.study.records import FloatArray
from fedrisk.study.values import plain

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal[
    "number", "time", "category", "text", "constant", "empty", "site", "not finite", "too large"
]
#: Text columns with more values than this are taken for free text or identifiers.
MOST_LEVELS = 30
#: Share of numbers left outside the range on either side.
TAIL = 0.001


@dataclass(frozen=True)
class ColumnProfile:
    """One column over all sites.

    Attributes
    ----------
    name : str
    kind : str
        What it seems to be.
    missing : int
        Rows without a value.
    low, high : float
        Least and greatest number; 0 where it holds none.
    usual : tuple of float
        The range that leaves out `TAIL` of the numbers on either side.
    values : tuple of (str, int)
        Distinct values with their rows, the most frequent first; empty where there are many.
    distinct : int
        How many distinct values there are.
    """

    name: str
    kind: Kind
    missing: int
    low: float = 0.0
    high: float = 0.0
    usual: tuple[float, float] = (0.0, 0.0)
    values: tuple[tuple[str, int], ...] = ()
    distinct: int = 0


def read_tables(files: Mapping[str, Path]) -> tuple[dict[str, pa.Table], list[str]]:
    """Read the columns that every site has; also name those that some site lacks.

    Raises
    ------
    DataError
        When a file cannot be read, has no rows, or shares no column with the others.
    """
    names = {site: column_names(path) for site, path in files.items()}
    first = next(iter(names.values()))
    shared = [name for name in first if all(name in others for others in names.values())]
    everything = dict.fromkeys(name for found in names.values() for name in found)
    if not shared:
        raise DataError("the sites' files have no column in common")
    tables = {site: read_columns(path, shared) for site, path in files.items()}
    empty = [str(files[site]) for site, table in tables.items() if table.num_rows == 0]
    if empty:
        raise DataError(f"{', '.join(empty)}: no rows")
    return tables, [name for name in everything if name not in shared]


def count_values(columns: Sequence[Column]) -> Counter[str]:
    """Count each distinct value over all sites, written as `plain` does."""
    counts: Counter[str] = Counter()
    for column in columns:
        values, places = distinct(column)
        rows = np.bincount(places[places >= 0], minlength=len(values))
        for value, number in zip(values, rows.tolist(), strict=True):
            counts[plain(value)] += number
    return counts


def _numbers(columns: Sequence[Column]) -> FloatArray | None:
    """All numbers of the sites in one array; None when some value is no number."""
    if not all(type_fits(column.raw.type, "number") for column in columns):
        return None
    parts = []
    for column in columns:
        values, unreadable = read_numbers(column)
        if unreadable.any():
            return None
        parts.append(values[~column.missing])
    return np.concatenate(parts)


def _are_times(columns: Sequence[Column]) -> bool:
    if not all(type_fits(column.raw.type, "time") for column in columns):
        return False
    return not any(read_times(column)[1].any() for column in columns)


def profile(name: str, columns: Sequence[Column]) -> ColumnProfile:
    """Describe one column, given as each site has it."""
    missing = int(sum(column.missing.sum() for column in columns))
    if all(column.missing.all() for column in columns):
        return ColumnProfile(name, "empty", missing)
    numbers = _numbers(columns)
    if numbers is None and _are_times(columns):
        return ColumnProfile(name, "time", missing)
    if numbers is None and not all(type_fits(column.raw.type, "value") for column in columns):
        return ColumnProfile(name, "text", missing)
    each = [count_values([column]) for column in columns]
    counts: Counter[str] = sum(each, Counter())
    kind: Kind = _kind_of_text(counts)
    if len(columns) > 1 and len(counts) > 1 and all(len(one) == 1 for one in each):
        kind = "site"
    elif numbers is not None and len(counts) > 1:
        return _profile_numbers(name, numbers, counts, missing)
    values = tuple(counts.most_common()) if len(counts) <= MOST_LEVELS else ()
    return ColumnProfile(name, kind, missing, values=values, distinct=len(counts))


def _kind_of_text(counts: Counter[str]) -> Kind:
    if len(counts) == 1:
        return "constant"
    few = len(counts) == 2 or (len(counts) <= MOST_LEVELS and 2 * len(counts) <= counts.total())
    return "category" if few else "text"


def _profile_numbers(
    name: str, numbers: FloatArray, counts: Counter[str], missing: int
) -> ColumnProfile:
    if not np.isfinite(numbers).all():
        return ColumnProfile(name, "not finite", missing, distinct=len(counts))
    if np.abs(numbers).max() > LARGEST:
        return ColumnProfile(name, "too large", missing, distinct=len(counts))
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        return ColumnProfile(name, "constant", missing, distinct=1)
    # Two numbers are a code (0 and 1, 1 and 2): nothing between them means anything.
    kind: Kind = "category" if len(counts) == 2 else "number"
    usual = np.quantile(numbers, [TAIL, 1 - TAIL])
    return ColumnProfile(
        name,
        kind,
        missing,
        low,
        high,
        (float(usual[0]), float(usual[1])),
        tuple(sorted(counts.items())) if kind == "category" else (),
        len(counts),
    )
