"""Where the bins of a number lie, as far as their count tells."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fedrisk.models.bins import LINEAR_BINS, feature_edges
from fedrisk.study import NumberFeature
from fedrisk.study.records import FloatArray


@lru_cache(maxsize=16)
def bin_centres(cells: int) -> FloatArray:
    """Centres of a feature's or of the score's bins, ``(cells,)``, up to a shift and a factor.

    Bins between bounds, and those of scores, are equally wide, so their places are their centres.
    Features without bounds have a logarithmic grid, in the feature's unit; open bins stand for
    their edge.

    >>> bin_centres(4).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    grid = feature_edges(NumberFeature(name="unbounded"))
    if cells != len(grid) + 1 or cells == LINEAR_BINS + 2:
        centres = np.arange(cells, dtype=np.float64)
    else:
        centres = np.concatenate([grid[:1], (grid[1:] + grid[:-1]) / 2, grid[-1:]])
    centres.setflags(write=False)
    return centres
