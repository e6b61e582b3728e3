"""Small cells of a comparison of models: few rows of a group, a score, a change of risk level.

Three steps, in this order: scores of groups of rows in place of each row's
(`group_compared_scores`, before any sum is made), groups of few rows left out, and what remains of
small counts rounded (`hide_comparison`, of the first message). Every step is deterministic and
made of one site's rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np

from fedrisk.models.comparison import ComparedRows, ComparisonCounts
from fedrisk.models.comparison.rows import group_families, group_names
from fedrisk.sites.disclosure.cells import group_scores
from fedrisk.study import Study
from fedrisk.study.records import BoolArray, FloatArray, SumRecord, total

R = TypeVar("R", bound=SumRecord)


def group_compared_scores(rows: ComparedRows, least: int, outcomes: int) -> ComparedRows:
    """Rows whose scores, of each model, are those of groups of rows (`cells.group_scores`).

    Rows that are judged and those that are not are grouped apart, for the first alone stand in
    score bins. Fewer than ``least`` rows that are not judged are left out: they would be counted by
    what untreated rows stand for.

    Parameters
    ----------
    rows : ComparedRows
    least : int
        Rows of a group; up to 1 leaves scores as they are.
    outcomes : int
        Rows of either outcome that a group has, if any.
    """
    if least <= 1 or not len(rows.events):
        return rows
    left_out = rows.treated if rows.untreated else np.zeros(len(rows.events), bool)
    if 0 < left_out.sum() < least:
        rows, left_out = rows.chosen(~left_out), left_out[~left_out]
    logits = rows.logits.copy()
    for side in (left_out, ~left_out):
        for model in range(len(logits)):
            own = rows.logits[model, side]
            logits[model, side] = group_scores(own, rows.events[side], least, outcomes)
    return rows.scored(logits)


def hide_comparison(
    study: Study, counts: ComparisonCounts, least: int, outcomes: int
) -> ComparisonCounts:
    """The first message without small groups.

    A group with fewer rows or people than ``least``, or with fewer of either outcome than
    ``outcomes``, is left out. If what a family leaves out is by itself too small, its smallest
    group that is shown goes too, so that no subtraction from all rows brings it back (secondary
    suppression; Hundepool et al., Statistical Disclosure Control, Wiley 2012, 4.4). Few treated
    rows of a risk level count as none, few untreated ones as treated. Changes of risk level are
    rounded to multiples of ``least``.

    Parameters
    ----------
    study : Study
    counts : ComparisonCounts
        Of rows whose scores are grouped.
    least : int
        Rows, and people; up to 1 hides nothing.
    outcomes : int
    """
    if least <= 1:
        return counts
    sizes = _sizes(counts)
    limits = np.array([least, outcomes, outcomes, least], np.float64)
    if _small(sizes[0], limits):
        return nothing_of(counts)
    names = group_names(study)
    hidden = np.zeros(len(names), bool)
    for family in group_families(study).values():
        places = [names.index(name) for name in family]
        hidden[_left_out(sizes, places, limits)] = True
    return _hide_minorities(_without(counts, hidden), least, outcomes)


def nothing_of(record: R) -> R:
    """A record that says nothing, and adds nothing to the federation's."""
    return type(record)(**{name: np.zeros_like(each) for name, each in record.arrays().items()})


def _sizes(counts: ComparisonCounts) -> FloatArray:
    """Rows, events, others and people of each group, ``(groups, 4)``."""
    others = counts.rows - counts.events
    return np.stack([counts.rows, counts.events, others, counts.clusters[:, 0]], axis=1)


def _small(sizes: FloatArray, limits: FloatArray) -> bool:
    """Whether there are rows, and too few of something; one outcome alone may be missing."""
    needed = sizes[0] > 0
    few = (sizes < limits) & (sizes > 0)
    return bool(needed and few.any())


def _left_out(sizes: FloatArray, places: Sequence[int], limits: FloatArray) -> list[int]:
    """Groups of one family that must not be told about."""
    hidden = [place for place in places if _small(sizes[place], limits)]
    shown = sorted(set(places) - set(hidden), key=lambda place: sizes[place, 0])
    shown = [place for place in shown if sizes[place, 0]]
    while shown and _rest_is_small(sizes, shown, limits):
        hidden.append(shown.pop(0))
    return hidden


def _rest_is_small(sizes: FloatArray, shown: Sequence[int], limits: FloatArray) -> bool:
    """Whether all rows but those of the groups that are shown are too few.

    People are in several groups, so the rest's are not known by subtraction, to nobody.
    """
    rest = sizes[0] - sizes[list(shown)].sum(axis=0)
    return _small(rest[:3], limits[:3])


def _without(counts: ComparisonCounts, hidden: BoolArray) -> ComparisonCounts:
    changed = {}
    for field in fields(counts):
        if field.metadata["axes"][:1] == ("groups",):
            value = getattr(counts, field.name).copy()
            value[hidden] = 0.0
            changed[field.name] = value
    return replace(counts, **changed)


def _hide_minorities(counts: ComparisonCounts, least: int, outcomes: int) -> ComparisonCounts:
    treated, rows = counts.band_treated, counts.band_rows
    shown = np.where(treated < least, 0.0, np.where(rows - treated < least, rows, treated))
    events = float(counts.treated_events)
    told = bool(shown.any())
    few = min(events, float(shown.sum()) - events) < outcomes
    return replace(
        counts,
        band_treated=shown,
        treated_events=total(0.0 if few or not told else events),
        treated_expected=counts.treated_expected * told,
        churn=np.round(counts.churn / least) * least,
    )
