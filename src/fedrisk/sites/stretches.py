"""Time cut into stretches of enough people: whatever windows are asked, these alone are counted.

Two windows that differ by a day, a row that comes late, a label that matures between two questions:
subtracting one answer from the other would leave a few people. So a site closes time itself, in
steps that its policy sets and its ledger keeps, and a window's answer is a sum of whole stretches.
Every difference of two answers is then made of stretches, each of which could be told by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrisk.models.bins import Places
from fedrisk.sites.windows import MONDAY, places_in
from fedrisk.study.columns import TimeArray

_NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Stretches:
    """Disjoint stretches of time, in order.

    Attributes
    ----------
    start, end : (stretches,) array of datetime64[us]
        The end is not part of a stretch.
    """

    start: TimeArray
    end: TimeArray

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]]) -> Stretches:
        """Stretches from their starts and ends in microseconds since 1970."""
        table = np.array(sorted(pairs), np.int64).reshape(-1, 2)
        return cls(*(table[:, side].astype("datetime64[us]") for side in (0, 1)))

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """What `of` takes."""
        ends = (self.start.astype(np.int64).tolist(), self.end.astype(np.int64).tolist())
        return list(zip(*ends, strict=True))

    def places(self, times: TimeArray) -> Places:
        """The stretch of each time; -1 where in none."""
        return places_in(times, self.start, self.end)

    def windows(self, starts: TimeArray, ends: TimeArray) -> Places:
        """The window that each stretch ends in; -1 where in none."""
        return places_in(self.end - np.timedelta64(1, "us"), starts, ends)


def close(
    times: TimeArray,
    persons: NDArray[np.int64],
    closed: Stretches,
    days: int,
    people: int,
    now: np.datetime64,
) -> Stretches:
    """The stretches closed before, and those that can be closed by now.

    A stretch is one step of time, or as many in a row as it takes to hold enough people. Steps that
    lie between stretches, or are not over, wait for more rows.

    Parameters
    ----------
    times : (rows,) array of datetime64
    persons : (rows,) array of int
        The same number in all rows of one person.
    closed : Stretches
        These never change.
    days, people : int
        Length of a step; least people in a stretch.
    now : datetime64
    """
    step = np.timedelta64(days, "D").astype("timedelta64[us]")
    known = ~np.isnat(times)
    steps = np.full(len(times), np.iinfo(np.int64).min)
    steps[known] = (times[known] - MONDAY) // step
    ends = MONDAY + (steps + 1) * step
    starts = MONDAY + steps * step
    free = known & (ends <= now) & ~_touches(starts, ends, closed)
    pairs = list(closed.pairs)
    for gap in _gaps(starts[free], closed):
        chosen = np.flatnonzero(free)[gap]
        pairs += _closed(steps[chosen], persons[chosen], step, people)
    return Stretches.of(pairs)


def _touches(starts: TimeArray, ends: TimeArray, closed: Stretches) -> NDArray[np.bool_]:
    """Where a step overlaps with a stretch that was closed, perhaps in steps of another length."""
    if not len(closed):
        return np.zeros(len(starts), bool)
    first = np.searchsorted(closed.end, starts, side="right")
    place = np.minimum(first, len(closed) - 1)
    touches: NDArray[np.bool_] = (first < len(closed)) & (closed.start[place] < ends)
    return touches


def _gaps(starts: TimeArray, closed: Stretches) -> list[Places]:
    """Places of the rows in each gap between closed stretches: none is closed across one."""
    number = np.searchsorted(closed.start, starts, side="right")
    return [np.flatnonzero(number == gap) for gap in np.unique(number)]


def _closed(
    steps: NDArray[np.int64], persons: NDArray[np.int64], step: np.timedelta64, people: int
) -> list[tuple[int, int]]:
    """Stretches of enough people, of the steps of one gap; what is left at its end waits."""
    pairs, first, held = [], None, _NOTHING
    order = np.lexsort((persons, steps))
    steps, persons = steps[order], persons[order]
    numbers, places = np.unique(steps, return_index=True)
    for number, own in zip(numbers, np.split(persons, places[1:]), strict=True):
        first = number if first is None else first
        held = np.union1d(held, own)
        if len(held) >= max(people, 1):
            ends = (MONDAY + first * step, MONDAY + (number + 1) * step)
            pairs.append((int(ends[0].astype(np.int64)), int(ends[1].astype(np.int64))))
            first, held = None, _NOTHING
    return pairs
