r"""False discoveries kept rare over features, sites and windows that never end.

Each check brings a batch of p-values: features times sites times windows. Within a batch the
Benjamini-Hochberg procedure runs at a level that grows with what the epoch has discovered so far:

.. math:: \alpha_t = \frac{\alpha}{H} \frac{n_t + R_{<t}}{n_t}

with ``n_t`` p-values in the batch, ``R_<t`` discoveries in earlier batches of the epoch, and ``H``
checks in an epoch. This is the procedure BatchPRDS (Zrnic, Jiang, Ramdas and Jordan, The power of
batching in multiple hypothesis testing, AISTATS 2020) with equal weights over an epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from fedrisk.errors import HomeError
from fedrisk.study.records import FloatArray

#: Share of discoveries in an epoch that may be false, on average.
RATE = 0.1
#: Checks in an epoch: a quarter of weekly ones.
EPOCH = 13


@dataclass(frozen=True)
class Discovery:
    """What a batch says about one of its p-values.

    Attributes
    ----------
    p_value : float
        As given.
    q_value : float
        The least rate of false discoveries at which it would be one, at most 1.
    found : bool
        Whether it is a discovery at the stream's rate.
    """

    p_value: float
    q_value: float
    found: bool


@dataclass(frozen=True)
class FalseDiscovery:
    """The state of a stream of batches.

    Attributes
    ----------
    rate : float
        Between 0 and 1.
    epoch : int
        Checks in an epoch.
    checks : int
        Checks in the epoch so far; less than ``epoch``.
    found : int
        Discoveries in the epoch so far.
    """

    rate: float = RATE
    epoch: int = EPOCH
    checks: int = 0
    found: int = 0

    def test(self, p_values: Sequence[float]) -> tuple[Self, list[Discovery]]:
        """Judge a batch; the state after it, and a discovery or none for each p-value, in order.

        A batch without p-values is no check.
        """
        if not len(p_values):
            return self, []
        p = np.asarray(p_values, np.float64)
        q = np.minimum(_adjusted(p) * self.epoch * len(p) / (len(p) + self.found), 1.0)
        found = q <= self.rate
        discoveries = [
            Discovery(float(one), float(least), bool(is_found))
            for one, least, is_found in zip(p, q, found, strict=True)
        ]
        return self._after(int(found.sum())), discoveries

    def _after(self, found: int) -> Self:
        if self.checks + 1 == self.epoch:
            return replace(self, checks=0, found=0)
        return replace(self, checks=self.checks + 1, found=self.found + found)

    def document(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "rate": self.rate,
            "epoch": self.epoch,
            "checks": self.checks,
            "found": self.found,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `document`.

        Raises
        ------
        HomeError
            When it is no such document.
        """
        try:
            numbers = {key: int(document[key]) for key in ("epoch", "checks", "found")}
            return cls(rate=float(document["rate"]), **numbers)
        except (KeyError, TypeError, ValueError) as error:
            raise HomeError(f"not the state of a stream of tests: {error!r}") from None


def _adjusted(p: FloatArray) -> FloatArray:
    """Benjamini and Hochberg's adjusted p-values (JRSS B 1995;57:289), in the order given."""
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return adjusted
