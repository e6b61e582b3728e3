"""Small cells of a stretch of time: counts of few people are merged, moved or left out.

A count is small where fewer people are behind it than the policy's ``contributors``, however many
rows each of them has. Every step is deterministic and made of one stretch's rows alone, so that
what is told of a stretch is always the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedrisk.models.bins import Places
from fedrisk.profiles.counting import Rows, feature_places
from fedrisk.profiles.moments import few_left_out
from fedrisk.profiles.profile import Profile
from fedrisk.sites.policy import Policy
from fedrisk.study import Study
from fedrisk.study.records import BoolArray, FloatArray


@dataclass(frozen=True)
class Crowd:
    """Rows of a stretch, and whose they are.

    Attributes
    ----------
    rows : Rows
    persons : (rows,) array of int
        The same number in all rows of one person.
    least : int
        People behind every count.
    """

    rows: Rows
    persons: NDArray[np.int64]
    least: int

    def people(self, chosen: BoolArray) -> int:
        """Different persons among some rows."""
        return len(np.unique(self.persons[chosen]))

    def few(self, chosen: BoolArray) -> bool:
        """Whether some rows, if there are any, are of too few people."""
        return 0 < self.people(chosen) < self.least


def hide_small_cells(study: Study, profile: Profile, crowd: Crowd, policy: Policy) -> Profile:
    """The profile of a stretch with no count of few people.

    Bins are merged with their neighbours. Of a feature's values, missing ones and ones outside the
    bounds, and of a category's levels, those of few people count as the most frequent kind, so that
    they add up to the rows all the same. Outcomes are told of groups of scores that have none or
    enough of either.

    Parameters
    ----------
    study : Study
    profile : Profile
        Counts of the crowd's rows.
    crowd : Crowd
    policy : Policy
    """
    if crowd.least <= 1:
        return profile
    missing, outside = dict(profile.missing), dict(profile.outside)
    numbers, categories = dict(profile.numbers), dict(profile.categories)
    for feature in study.features:
        name = feature.name
        places, width = feature_places(feature, crowd.rows.columns[name])
        beyond = crowd.rows.outside.get(name, np.zeros(len(places), bool))
        places = places + beyond  # values, missing ones at `width`, others beyond it
        if name in numbers:
            merged = _merged(profile.numbers[name], groups_of(places, width, crowd))
            parts = _joined((places >= width).astype(np.intp) + beyond, 3, crowd)
            numbers[name] = _filled(merged, parts[0])
        else:
            parts = _joined(places, width + 2, crowd)
            categories[name] = parts[:-2]
        missing[name], outside[name] = parts[-2:].tolist()
    scores = _scored(profile, crowd)
    labelled, events = _outcomes(profile, crowd, policy.pair_contributors)
    return replace(
        profile,
        numbers=numbers,
        categories=categories,
        missing=missing,
        outside=outside,
        scores=scores,
        labelled=labelled,
        events=events,
        moments=_moments(study, profile, crowd, policy),
    )


@dataclass(frozen=True)
class Group:
    """Neighbouring bins, first to last (which is not among them), told as one at a place."""

    first: int
    last: int
    place: int


def groups_of(
    places: Places, width: int, crowd: Crowd, chosen: BoolArray | None = None, outcomes: int = 0
) -> list[Group]:
    """Groups that tile the bins from low to high, each of enough people.

    A group stands in its fullest bin where enough people are in that one alone, else in its middle
    one, which tells nothing of where in the group they are. What is left at the upper end joins the
    last group. None, where all rows together are of too few people.

    Parameters
    ----------
    places : (rows,) array of int
        Bin of each row; others than 0 to ``width - 1`` take no part.
    width : int
    crowd : Crowd
    chosen : (rows,) array of bool, optional
        The rows that take part.
    outcomes : int
        Events, and others, of a group that has any.
    """
    held = (places >= 0) & (places < width) & (True if chosen is None else chosen)
    order = np.flatnonzero(held)[np.argsort(places[held], kind="stable")]
    _, first = np.unique(places[order], return_index=True)
    parts = np.split(order, first[1:]) if len(order) else []
    groups: list[list[Places]] = [[]]
    for part in parts:
        groups[-1].append(part)
        if _enough(groups[-1], crowd, outcomes):
            groups.append([])
    while len(groups) > 1:  # what is left, or falls short with it, joins the group before
        rest = groups.pop()
        groups[-1] += rest
        if _enough(groups[-1], crowd, outcomes):
            break
    if not _enough(groups[-1], crowd, outcomes):
        return []
    ends = [0, *(int(places[group[-1][0]]) + 1 for group in groups[:-1]), width]
    return [
        Group(first, last, _place(first, last, group, places, crowd))
        for (first, last), group in zip(pairwise(ends), groups, strict=True)
    ]


def _enough(parts: Sequence[Places], crowd: Crowd, outcomes: int) -> bool:
    if not parts:
        return False
    rows = np.concatenate(parts)
    events = int(crowd.rows.events[rows].sum())
    few = any(0 < number < outcomes for number in (events, len(rows) - events))
    return not few and len(np.unique(crowd.persons[rows])) >= crowd.least


def _place(first: int, last: int, parts: Sequence[Places], places: Places, crowd: Crowd) -> int:
    fullest = max(parts, key=len)
    if len(np.unique(crowd.persons[fullest])) >= crowd.least:
        return int(places[fullest[0]])
    return first + (last - first - 1) // 2


def _merged(counts: FloatArray, groups: Sequence[Group]) -> FloatArray:
    """Counts of each group at its place."""
    merged = np.zeros_like(counts)
    for group in groups:
        merged[group.place] = counts[group.first : group.last].sum()
    return merged


def _joined(kinds: Places, number: int, crowd: Crowd) -> FloatArray:
    """Rows of each kind; kinds of few people count as the one with the most rows."""
    kinds = kinds.copy()
    while True:
        rows = np.bincount(kinds, minlength=number).astype(np.float64)
        few = [kind for kind in np.flatnonzero(rows) if crowd.few(kinds == kind)]
        if not few:
            return rows
        smallest = min(few, key=lambda kind: rows[kind])
        others = np.where(np.arange(number) == smallest, 0.0, rows)
        if not others.any():
            return np.zeros(number)
        kinds[kinds == smallest] = int(np.argmax(others))


def _filled(merged: FloatArray, rows: float) -> FloatArray:
    """Merged bins that add up to so many rows: what they lack goes to the fullest one.

    Where none is told, to the middle one, which tells nothing of where they are.
    """
    filled = merged.copy()
    place = int(np.argmax(merged)) if merged.any() else (len(merged) - 1) // 2
    filled[place] += rows - merged.sum()
    return filled if rows else np.zeros_like(merged)


def _scored(profile: Profile, crowd: Crowd) -> FloatArray:
    """Rows by score bin; where few people have no score, they count as the most frequent one."""
    places = crowd.rows.places
    merged = _merged(profile.scores, groups_of(places, len(profile.scores), crowd))
    if not merged.any() or not crowd.few(places < 0):
        return merged
    return _filled(merged, profile.rows)


def _outcomes(profile: Profile, crowd: Crowd, outcomes: int) -> tuple[FloatArray, FloatArray]:
    """Labelled rows and events by groups of neighbouring score bins.

    Where few people's scored rows have no label, that is a small count, too: then the group of the
    lowest scores is told without its labels.
    """
    places, known = crowd.rows.places, crowd.rows.labelled
    told = known & (places >= 0)
    groups = groups_of(places, len(profile.scores), crowd, told, outcomes)
    without = ~told if crowd.few(places < 0) else ~told & (places >= 0)
    if crowd.few(without):
        groups = groups[1:]
    return _merged(profile.labelled, groups), _merged(profile.events, groups)


def _moments(study: Study, profile: Profile, crowd: Crowd, policy: Policy) -> FloatArray:
    """Sums and products, unless of few people, of all but few, or too many for their rows.

    As many equations as there are values solve for these, so there are at most
    ``parameters_per_row`` of them for one complete row.
    """
    found = profile.moments
    complete = np.ones(len(crowd.persons), bool)
    for feature in study.numbers:
        complete &= ~np.isnan(crowd.rows.columns[feature.name])
    if crowd.few(~complete) or crowd.people(complete) < crowd.least:
        return np.zeros_like(found)
    entries = len(found) * (len(found) + 1) / 2
    return few_left_out(found, entries / policy.parameters_per_row)


def rounded_people(people: FloatArray, contributors: int) -> FloatArray:
    """Numbers of people, down to a multiple: one more or less does not show."""
    step = max(contributors, 1)
    return np.floor(people / step) * step
