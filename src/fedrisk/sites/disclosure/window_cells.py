"""Small cells of a stretch of time: counts of few people are merged, moved or left out.

A count is small where the rows of as few people could make it up. Every step is deterministic and
made of one stretch's counts alone, so that what is told of a stretch is always the same.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedrisk.profiles.moments import few_left_out
from fedrisk.profiles.profile import Profile
from fedrisk.sites.disclosure.cells import merge_bins
from fedrisk.sites.policy import Policy
from fedrisk.study.records import FloatArray


def least_rows(persons: NDArray[np.int64], contributors: int) -> int:
    """So many rows are those of ``contributors`` people or more, whoever's they are.

    >>> least_rows(np.array([7, 7, 7, 8, 8, 9]), 2), least_rows(np.array([1, 2, 3]), 2)
    (4, 2)
    """
    if contributors <= 1 or not len(persons):
        return contributors
    _, rows = np.unique(persons, return_counts=True)
    most = np.sort(rows)[::-1][: contributors - 1]
    return int(most.sum()) + 1


def hide_small_cells(profile: Profile, least: int, policy: Policy) -> Profile:
    """The profile of a stretch with no count of few rows.

    Bins are merged with their neighbours. Of a feature's values, missing ones and ones outside the
    bounds, and of a category's levels, fewer than ``least`` count as the most frequent kind, so
    that they add up to the rows all the same. Outcomes are told of groups of scores that have none
    or enough of either.

    Parameters
    ----------
    profile : Profile
    least : int
        Rows of every count (`least_rows`).
    policy : Policy
    """
    if least <= 1:
        return profile
    missing, outside = dict(profile.missing), dict(profile.outside)
    numbers, categories = {}, {}
    for name, bins in profile.numbers.items():
        merged = merge_bins(bins, least)
        parts = _joined(np.array([bins.sum(), missing[name], outside[name]]), least)
        numbers[name] = _filled(merged, parts[0])
        missing[name], outside[name] = parts[1:].tolist()
    for name, levels in profile.categories.items():
        parts = _joined(np.array([*levels, missing[name], outside[name]]), least)
        categories[name] = parts[:-2]
        missing[name], outside[name] = parts[-2:].tolist()
    scored = _scored(profile, least)
    told = float(scored.sum())
    labelled, events = _outcomes(profile, told, least, policy.pair_contributors)
    return replace(
        profile,
        numbers=numbers,
        categories=categories,
        missing=missing,
        outside=outside,
        scores=scored,
        labelled=labelled,
        events=events,
        moments=_moments(profile, least, policy),
    )


def _moments(profile: Profile, least: int, policy: Policy) -> FloatArray:
    """Sums and products, unless of few rows, of all rows but few, or too many for their rows.

    As many equations as there are values solve for these, so there are at most
    ``parameters_per_row`` of them for one complete row.
    """
    found = profile.moments
    entries = len(found) * (len(found) + 1) / 2
    if 0 < profile.rows - found[0, 0] < policy.contributors:
        return np.zeros_like(found)
    return few_left_out(found, max(least, entries / policy.parameters_per_row))


def _joined(parts: FloatArray, least: int) -> FloatArray:
    """Kinds of value by rows, the smallest added to the largest until none is small.

    >>> _joined(np.array([90.0, 4.0, 6.0]), 10).tolist()
    [100.0, 0.0, 0.0]
    """
    parts = parts.copy()
    while ((parts > 0) & (parts < least)).any() and np.count_nonzero(parts) > 1:
        smallest = int(np.argmin(np.where(parts > 0, parts, np.inf)))
        rows, parts[smallest] = parts[smallest], 0.0
        parts[int(np.argmax(parts))] += rows
    parts[parts < least] = 0.0
    return parts


def _filled(merged: FloatArray, rows: float) -> FloatArray:
    """Merged bins that add up to so many rows: what they lack goes to the fullest one.

    Where none is told, to the middle one, which tells nothing of where they are.
    """
    filled = merged.copy()
    place = int(np.argmax(merged)) if merged.any() else (len(merged) - 1) // 2
    filled[place] += rows - merged.sum()
    return filled if rows else np.zeros_like(merged)


def _scored(profile: Profile, least: int) -> FloatArray:
    """Rows by score bin; where few rows have no score, they count as the most frequent one."""
    merged = merge_bins(profile.scores, least)
    rows = float(merged.sum())
    return _filled(merged, profile.rows if 0 < profile.rows - rows < least else rows)


def _outcomes(
    profile: Profile, scored: float, least: int, outcomes: int
) -> tuple[FloatArray, FloatArray]:
    """Labelled rows and events by groups of neighbouring score bins.

    Where few scored rows have no label, that is a small count, too: then the group of the lowest
    scores is told without its labels.
    """
    rows, events = profile.labelled, profile.events
    groups = _groups(rows, events, least, outcomes)
    if 0 < scored - rows.sum() < least:
        groups = groups[1:]
    labelled, held = np.zeros_like(rows), np.zeros_like(events)
    for first, last in groups:
        place = first + int(np.argmax(rows[first:last]))
        if rows[place] < least:
            place = first + (last - first - 1) // 2
        labelled[place], held[place] = rows[first:last].sum(), events[first:last].sum()
    return labelled, held


def _groups(
    rows: FloatArray, events: FloatArray, least: int, outcomes: int
) -> list[tuple[int, int]]:
    """Half-open ranges that tile the bins, each with enough rows, and none or enough of either
    outcome; none where all together have too few.
    """
    ends, start = [0], 0
    for end in range(1, len(rows) + 1):
        if _enough(rows[start:end], events[start:end], least, outcomes):
            ends.append(end)
            start = end
    while len(ends) > 1:
        ends[-1] = len(rows)
        if _enough(rows[ends[-2] :], events[ends[-2] :], least, outcomes):
            return list(pairwise(ends))
        ends.pop()
    return []


def _enough(rows: FloatArray, events: FloatArray, least: int, outcomes: int) -> bool:
    total, held = rows.sum(), events.sum()
    few = any(0 < group < outcomes for group in (held, total - held))
    return bool(total >= least and not few)


def rounded_people(people: FloatArray, contributors: int) -> FloatArray:
    """Numbers of people, down to a multiple: one more or less does not show."""
    step = max(contributors, 1)
    return np.floor(people / step) * step
