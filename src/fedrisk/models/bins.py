"""Bins that every site knows without having seen a row: for features and for scores.

A feature's bins follow from the study alone, so counts add up across sites and no site has to
reveal its extremes to agree on them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedrisk.study import NumberFeature
from fedrisk.study.records import FloatArray

Places = NDArray[np.intp]

#: Equal bins between declared bounds.
LINEAR_BINS = 256
#: Bins per doubling where no bounds are declared, and the doublings covered on each side of zero.
BINS_PER_OCTAVE = 8
OCTAVES = (-10, 30)
#: Logit-score bins: width 1/128 between -12 and 12. Ties within a bin cost an AUROC about 2e-5
#: where scores spread over one unit, and below 1e-3 still where shrinkage leaves a spread of .05.
LOGIT_LIMIT = 12.0
LOGIT_BINS = 3072


@lru_cache(maxsize=1024)
def _edges(low: float | None, high: float | None) -> FloatArray:
    if low is not None and high is not None:
        edges = np.linspace(low, high, LINEAR_BINS + 1)
    else:
        first, last = OCTAVES
        magnitudes = 2.0 ** np.linspace(first, last, (last - first) * BINS_PER_OCTAVE + 1)
        edges = np.concatenate([-magnitudes[::-1], [0.0], magnitudes])
    edges.setflags(write=False)
    return edges


def feature_edges(feature: NumberFeature) -> FloatArray:
    """Edges of a feature's bins, ascending, in the feature's unit.

    The plausible range is divided where there is one, else the hard bounds, else a symmetric
    logarithmic grid. Values outside fall into two open bins, so there are ``len(edges) + 1`` bins.
    """
    if feature.plausible is not None:
        return _edges(*feature.plausible)
    return _edges(feature.minimum, feature.maximum)


def feature_centre(feature: NumberFeature) -> float:
    """A value near the data, known beforehand: sums of squares about it keep their digits.

    Where it is not near enough, the sums are taken about the federation's means
    (`fedrisk.models.summary.better_centres`).
    """
    if feature.plausible is not None:
        return (feature.plausible[0] + feature.plausible[1]) / 2
    if feature.minimum is not None and feature.maximum is not None:
        return (feature.minimum + feature.maximum) / 2
    return 0.0


#: Values from which on a uniform grid is computed in, not searched: three times as fast.
MANY = 20_000
#: Values that are placed at a time: what is computed of them stays in the processor's cache.
BLOCK = 16_384


def bin_places(values: FloatArray, edges: FloatArray) -> Places:
    """The bin of each value, ``(values,)``, as ``np.searchsorted(edges, values, side="right")``.

    Bin 0 is below the first edge, ``len(edges)`` from the last one on. No value is NaN.

    >>> bin_places(np.array([-1.0, 0.0, 0.5, 2.0]), np.array([0.0, 1.0, 2.0])).tolist()
    [0, 1, 1, 3]
    """
    if len(values) < MANY or not np.allclose(np.diff(edges), edges[1] - edges[0]):
        return np.searchsorted(edges, values, side="right")
    places = np.empty(len(values), np.intp)
    bounds = np.concatenate([[-np.inf], edges, [np.nan]])  # nothing is beyond the last bin
    per_unit = (len(edges) - 1) / (edges[-1] - edges[0])
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        # Rounding may be off by one bin, at an edge; the edges themselves decide.
        guess = np.clip((block - edges[0]) * per_unit, -1.0, len(edges) - 1.0)
        found = np.floor(guess).astype(np.intp) + 1
        found -= block < bounds[found]
        found += block >= bounds[found + 1]
        places[start : start + BLOCK] = found
    return places


def count(values: FloatArray, edges: FloatArray) -> FloatArray:
    """Count values per bin, ``(len(edges) + 1,)``; bin 0 is below the first edge. NaN is left out.

    >>> count(np.array([-1.0, 0.5, 1.0, 9.0]), np.array([0.0, 1.0, 2.0])).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    places = bin_places(values[~np.isnan(values)], edges)
    return np.bincount(places, minlength=len(edges) + 1).astype(np.float64)


def quantile(counts: FloatArray, edges: FloatArray, q: float) -> float:
    """Quantile of binned values, linear within its bin; open bins answer their edge.

    Parameters
    ----------
    counts : (len(edges) + 1,) array
    edges : (bins,) array
    q : float
        Between 0 and 1.

    >>> quantile(np.array([0.0, 2.0, 2.0, 0.0]), np.array([0.0, 1.0, 2.0]), 0.5)
    1.0
    """
    cumulative = np.cumsum(counts)
    if cumulative[-1] == 0:
        return 0.0
    target = q * cumulative[-1]
    # The smallest value lies in the first bin that holds anything, not in the first bin.
    place = max(int(np.searchsorted(cumulative, target)), int(np.argmax(cumulative > 0)))
    if place == 0:
        return float(edges[0])
    if place >= len(edges):
        return float(edges[-1])
    inside = (target - cumulative[place - 1]) / counts[place]
    return float(edges[place - 1] + inside * (edges[place] - edges[place - 1]))


def logit_edges() -> FloatArray:
    """Edges of the score bins on the logit scale, ascending, ``(LOGIT_BINS + 1,)``."""
    return np.linspace(-LOGIT_LIMIT, LOGIT_LIMIT, LOGIT_BINS + 1)
