"""The reference's blocks in time: which of them a window is compared with, and which each other.

A window is compared with the blocks of the same time of the year, `HALF_SEASON` days to either
side of its middle in every year of the reference: a season that is centred on the window, so that
warming before and cooling after it cancel. Blocks are compared with one another in the same way,
leaving out those `GAP` days and less away, whose weather is still the block's own (h-block
cross-validation: Burman, Chow and Nolan, Biometrika 1994;81:351).

Where the reference does not hold that time of the year on both sides, a window is compared with
the season before it instead, and blocks with the season as long before them: they tell how far
things move in that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedrisk.profiles.profile import Profile
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.seasons import SEASONS, season_of
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study.records import BoolArray, FloatArray

#: Days to either side of a window's middle that are its season; more for windows of a month.
HALF_SEASON = 45.0
#: Days next to a block that its own comparison leaves out.
GAP = 14.0
#: Largest distance, in days, of the middle of a comparison from the middle of a window.
BALANCE = 10.0
#: Longest time, in days, after the last block to tell how far things move in it.
LONGEST_LAG = 182.0
_YEAR = 365.25
_DAY = 86_400.0


@dataclass(frozen=True)
class Spans:
    """Stretches of time, in days since 1970; arrays ``(spans,)``."""

    starts: FloatArray
    ends: FloatArray

    @cached_property
    def middles(self) -> FloatArray:
        middles: FloatArray = (self.starts + self.ends) / 2
        return middles

    @cached_property
    def seasons(self) -> NDArray[np.str_]:
        """Season of each middle."""
        days = self.middles.astype("datetime64[D]").tolist()
        return np.array([season_of(day) for day in days], np.str_)


@dataclass(frozen=True)
class Groups:
    """Windows made of consecutive blocks, as long as a current window.

    Attributes
    ----------
    spans : Spans
    members, comparison : (groups, blocks) bool arrays
        Which blocks a group is made of, and which it is compared with.
    size : int
        Blocks of a group; groups overlap where it is above 1.
    """

    spans: Spans
    members: BoolArray
    comparison: BoolArray
    size: int

    def around(self, span: Spans) -> BoolArray:
        """Which groups are of a span's time of the year."""
        near: BoolArray = np.abs(_offsets(self.spans.middles, span.middles)[0]) <= HALF_SEASON
        return near

    def strata(self, by_season: bool) -> list[BoolArray]:
        """Groups that resemble each other: those of a season, or all."""
        if not by_season:
            return [np.ones(len(self.members), np.bool_)]
        return [np.asarray(self.spans.seasons == season, np.bool_) for season in SEASONS]


class Blocks:
    """Blocks of one site, or of all sites together, in order of time.

    Parameters
    ----------
    reference : Reference
    site : str or None
        None adds up the sites' blocks of the same time.
    """

    def __init__(self, reference: Reference, site: str | None) -> None:
        together: dict[tuple[float, float], list[SiteWindow]] = {}
        for block in reference.blocks_of(site):
            together.setdefault(_span(block), []).append(block)
        parts = [together[key] for key in sorted(together)]
        spans = np.array(sorted(together), np.float64).reshape(-1, 2)
        self.spans = Spans(spans[:, 0], spans[:, 1])
        self.profiles = [_merged(part) for part in parts]
        self.people = np.array([sum(block.people for block in part) for part in parts])
        self.days = np.array([max(block.days for block in part) for part in parts])

    def __len__(self) -> int:
        return len(self.profiles)

    @cached_property
    def length(self) -> float:
        """Days of a block, at the median."""
        return float(np.median(self.spans.ends - self.spans.starts)) if len(self) else np.nan

    def size_of(self, window: SiteWindow) -> int:
        """How many blocks make a window's length; at least 1."""
        start, end = _span(window)
        return max(1, round((end - start) / self.length))

    def season_around(self, span: Spans) -> BoolArray | None:
        """Blocks of the same time of the year, ``(blocks,)``; None where a side is missing."""
        chosen = self._same_season(span)[0]
        offsets = _offsets(self.spans.middles, span.middles)[0]
        return chosen if _is_balanced(chosen, offsets) else None

    def lag_of(self, span: Spans) -> float | None:
        """Days from the last block's middle to a later span's; None where too many, or none."""
        lag = float(span.middles[0] - self.spans.middles[-1])
        return lag if 0 < lag <= LONGEST_LAG else None

    def season_before(self, span: Spans, lag: float) -> BoolArray:
        """Blocks of the season that ended ``lag`` days before each span, ``(spans, blocks)``."""
        before = span.middles[:, None] - self.spans.middles
        width = 2 * self._half_season(span)
        found: BoolArray = (before >= lag - 0.5) & (before <= lag + width)
        return found & self._apart(span)

    def groups(self, size: int, lag: float | None = None) -> Groups:
        """All runs of ``size`` consecutive blocks that have something to be compared with.

        Parameters
        ----------
        size : int
            At least 1.
        lag : float, optional
            Compare with the season that ended so many days before; without, with the same time of
            the year.
        """
        members, spans = self._runs(size)
        if lag is None:
            comparison = self._same_season(spans)
            offsets = _offsets(self.spans.middles, spans.middles)
            pairs = zip(comparison, offsets, strict=True)
            kept = np.array([_is_balanced(*pair) for pair in pairs], np.bool_)
        else:
            comparison = self.season_before(spans, lag)
            most = comparison.sum(axis=1).max(initial=0)
            kept = (comparison.sum(axis=1) >= max(2, most / 2)).astype(np.bool_)
        chosen = Spans(spans.starts[kept], spans.ends[kept])
        return Groups(chosen, members[kept], comparison[kept], size)

    def _runs(self, size: int) -> tuple[BoolArray, Spans]:
        firsts = np.arange(max(len(self) - size + 1, 0))
        lasts = firsts + size - 1
        starts, ends = self.spans.starts[firsts], self.spans.ends[lasts]
        whole = ends - starts <= (size + 0.5) * self.length
        places = np.arange(len(self))
        members = (places >= firsts[whole, None]) & (places <= lasts[whole, None])
        return members, Spans(starts[whole], ends[whole])

    def _same_season(self, spans: Spans) -> BoolArray:
        near = np.abs(_offsets(self.spans.middles, spans.middles)) <= self._half_season(spans)
        found: BoolArray = near & self._apart(spans)
        return found

    def _half_season(self, spans: Spans) -> FloatArray:
        """Days to either side; long windows have a longer season, or nothing would be left."""
        half: FloatArray = np.maximum(HALF_SEASON, (spans.ends - spans.starts) / 2 + 30)[:, None]
        return half

    def _apart(self, spans: Spans) -> BoolArray:
        """Which blocks are more than the gap away in time, ``(spans, blocks)``."""
        after = self.spans.starts >= spans.ends[:, None] + GAP
        before = self.spans.ends <= spans.starts[:, None] - GAP
        apart: BoolArray = after | before
        return apart


def span_of(window: SiteWindow) -> Spans:
    """One window's stretch of time."""
    start, end = _span(window)
    return Spans(np.array([start]), np.array([end]))


def _span(window: SiteWindow) -> tuple[float, float]:
    return window.start.timestamp() / _DAY, window.end.timestamp() / _DAY


def _merged(parts: Sequence[SiteWindow]) -> Profile:
    total = parts[0].profile
    for part in parts[1:]:
        total = total + part.profile
    return total


def _offsets(blocks: FloatArray, middles: FloatArray) -> FloatArray:
    """Days within the year from each middle to each block, -183 to 183, ``(middles, blocks)``."""
    offsets: FloatArray = (blocks - middles[:, None] + _YEAR / 2) % _YEAR - _YEAR / 2
    return offsets


def _is_balanced(chosen: BoolArray, offsets: FloatArray) -> bool:
    """Whether chosen blocks lie on both sides of a middle."""
    if chosen.sum() < 2:
        return False
    sides = offsets[chosen]
    return bool(abs(sides.mean()) <= BALANCE and sides.min() < 0 < sides.max())
