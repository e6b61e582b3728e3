"""Sums and cross products of a window's numbers: how features go together, which bins cannot tell.

A value stands for the middle of its bin, on a scale between -1 and 1: so these tell nothing finer
than bins do, no row weighs more than one at the end of the plausible range, and sums of such
fractions are exact, whatever the order in which rows and windows are added. Bins tell the values
of a single row, too; of few rows neither may leave (`few_left_out`).
"""

from __future__ import annotations

import numpy as np

from fedrisk.models.bins import LINEAR_BINS, feature_edges
from fedrisk.study import NumberFeature, Study
from fedrisk.study.records import Columns, FloatArray

#: Rows that are multiplied together: their table stays in a core's cache.
BLOCK = 16_384


def no_moments(numbers: int) -> FloatArray:
    """The moments of no rows, ``(1 + numbers, 1 + numbers)``."""
    return np.zeros((1 + numbers, 1 + numbers))


def moments(study: Study, columns: Columns) -> FloatArray:
    """Cross products of 1 and every number, summed over the rows that have every number.

    Parameters
    ----------
    study : Study
    columns : mapping of feature name to (rows,) array
        Floats with NaN where a value is missing.

    Returns
    -------
    (1 + numbers, 1 + numbers) array
        At [0, 0] the rows that have every number, in the first row the sums, then the products.

    Examples
    --------
    >>> from fedrisk.study import NumberFeature, Study
    >>> feature = NumberFeature(name="x", unit="m", minimum=0, maximum=2)
    >>> study = Study(name="s", label="y", positive=(1,), features=(feature,))
    >>> moments(study, {"x": np.array([2.0, 1.5, np.nan])}).tolist()
    [[2.0, 1.5], [1.5, 1.246124267578125]]
    """
    numbers = study.numbers
    total = no_moments(len(numbers))
    rows = len(next(iter(columns.values())))
    table = np.ones((1 + len(numbers), min(rows, BLOCK)))
    for start in range(0, rows, BLOCK):
        part = table[:, : min(BLOCK, rows - start)]
        part[0] = 1.0
        for line, feature in zip(part[1:], numbers, strict=True):
            _scaled(feature, columns[feature.name][start : start + BLOCK], line)
        # A sum over the row is NaN where any of its numbers is.
        incomplete = np.isnan(part.sum(axis=0))
        if incomplete.any():
            part[:, incomplete] = 0.0
        total += part @ part.T
    return total


def few_left_out(found: FloatArray, least: float) -> FloatArray:
    """The moments, or none where fewer rows than ``least`` have every number."""
    return found if found[0, 0] >= least else np.zeros_like(found)


def _scaled(feature: NumberFeature, values: FloatArray, out: FloatArray) -> None:
    """Middles of the values' bins as fractions of a power of two, -1 to 1; NaN stays."""
    edges = feature_edges(feature)
    bins = len(edges) - 1
    low, high = float(edges[0]), float(edges[-1])
    if bins == LINEAR_BINS:
        np.multiply(values - low, bins / (high - low), out=out)
        np.floor(out, out=out)
    else:
        out[:] = np.searchsorted(edges, values, side="right") - 1
        out[np.isnan(values)] = np.nan
    np.clip(out, 0, bins - 1, out=out)
    out *= 2
    out -= bins - 1
    out /= 2.0 ** np.ceil(np.log2(bins))
