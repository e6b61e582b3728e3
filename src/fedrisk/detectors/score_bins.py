"""What a score bin stands for: the log-odds and the risk of its rows, as near as counts tell."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fedrisk.models.logistic import expit
from fedrisk.profiles.profile import SCORE_BINS_PER_UNIT, score_edges
from fedrisk.study.records import FloatArray


@lru_cache(maxsize=1)
def bin_logits() -> FloatArray:
    """Log-odds that stand for the score bins, ``(194,)``: their middles.

    The two open bins stand for half a width beyond their edge. A bin is an eighth wide, so the
    middle is off the rows' mean by a hundredth at most where scores are spread at all, and the
    expected events by a few thousandths.

    >>> bin_logits()[[0, 96, 97, 193]].tolist()
    [-12.0625, -0.0625, 0.0625, 12.0625]
    """
    edges, half = score_edges(), 0.5 / SCORE_BINS_PER_UNIT
    middles: FloatArray = np.append(edges - half, edges[-1] + half)
    middles.setflags(write=False)
    return middles


@lru_cache(maxsize=1)
def bin_risks() -> FloatArray:
    """Risk that stands for each score bin, ``(194,)``."""
    risks = expit(bin_logits())
    risks.setflags(write=False)
    return risks
