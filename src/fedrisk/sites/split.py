"""The split into training and test rows: the same at every site, in every run and every format.

A row is a test row when the first eight bytes of a SHA-256, read as a big-endian number, are below
``test_fraction`` of 2**64. What is hashed begins with the study's name and a line break, and
goes on with

- the person's id as text (1, 1.0, "1" and "1.0" are all ``1``), where the study names an id; or
- the row's values, for want of an id: features by name, then the time in microseconds since
  1970, each as a big-endian IEEE 754 double, a category as the place of its level, a missing value
  as the NaN 7ff8000000000000. Label and treatment stay out, for they may become known later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from fedrisk.study import CategoryFeature, Study
from fedrisk.study.columns import Column, TimeArray, distinct
from fedrisk.study.records import BoolArray, Columns, FloatArray
from fedrisk.study.values import plain


def _fractions(study: Study, contents: Iterable[bytes]) -> FloatArray:
    start = hashlib.sha256(f"{study.name}\n".encode())
    firsts = []
    for content in contents:
        digest = start.copy()
        digest.update(content)
        firsts.append(int.from_bytes(digest.digest()[:8], "big"))
    return np.array(firsts, np.float64) / 2.0**64


def split_by_id(study: Study, ids: Column) -> BoolArray:
    """Tell the test rows, ``(rows,)``; all rows of one person are on one side."""
    values, places = distinct(ids)
    persons = _fractions(study, (plain(value).encode() for value in values))
    return np.append(persons < study.test_fraction, False)[places]


def split_by_values(study: Study, columns: Columns, times: TimeArray | None) -> BoolArray:
    """Tell the test rows, ``(rows,)``; equal rows are on one side."""
    parts = []
    for feature in sorted(study.features, key=lambda feature: feature.name):
        values = columns[feature.name].astype(np.float64)
        if isinstance(feature, CategoryFeature):
            values[values < 0] = np.nan
        parts.append(values)
    if times is not None:
        parts.append(times.astype(np.int64).astype(np.float64))
    table = np.stack(parts, axis=1)
    table[np.isnan(table)] = np.nan  # one NaN of the many that there are
    table += 0.0  # -0 becomes 0
    width = 8 * table.shape[1]
    content = memoryview(table.astype(">f8").tobytes())
    rows = (bytes(content[at : at + width]) for at in range(0, len(content), width))
    return _fractions(study, rows) < study.test_fraction


def sides_disagree(ids: Column, test: BoolArray) -> BoolArray:
    """Rows of persons whom a declared split puts on both sides, ``(rows,)``."""
    values, places = distinct(ids)
    known = places >= 0
    rows = np.bincount(places[known], minlength=len(values))
    tests = np.bincount(places[known & test], minlength=len(values))
    return np.append((tests > 0) & (tests < rows), False)[places]
