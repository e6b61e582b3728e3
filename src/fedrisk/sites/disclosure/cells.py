"""Small cells: training rows in groups of fewer than k are recoded, small bins are merged.

Every step is deterministic and works on one site's rows or counts alone, so that what leaves still
adds up across sites. Recoding comes before any sum is made, so that the summary, the fit and the
site's own counts agree, and no difference between them gives a small group away.

Recoding is local suppression to k-anonymity over pairs of categorical values (Hundepool et al.,
Statistical Disclosure Control, Wiley 2012, chapter 3): a value is replaced by the site's most
frequent one of that feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import DisclosureError
from fedrisk.models.bins import feature_edges, logit_edges
from fedrisk.models.logistic import expit
from fedrisk.models.metrics import EvaluationSums
from fedrisk.models.summary import FeatureSummary, SiteCounts, split_by_feature, summary_dimensions
from fedrisk.study import CategoryFeature, Study
from fedrisk.study.records import BoolArray, Columns, FloatArray, total

#: Recoding moves rows to the most frequent value alone and ends by itself; a guard against a fault.
PASSES = 100

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recoded:
    """Training columns without small groups.

    Attributes
    ----------
    columns : mapping of feature name to (rows,) array
    changed : int
        Values that were recoded.
    """

    columns: Mapping[str, NDArray[Any]]
    changed: int


def categorical_codes(study: Study, columns: Columns) -> dict[str, Codes]:
    """What a design matrix makes indicators of: levels, and missing or not, as codes from 0 on."""
    codes: dict[str, Codes] = {}
    for feature in study.features:
        values = columns[feature.name]
        if isinstance(feature, CategoryFeature):
            codes[feature.name] = np.where(values < 0, len(feature.levels), values).astype(np.int64)
        elif feature.missing == "allow":
            codes[feature.name] = np.isnan(values).astype(np.int64)
    return codes


def _small(counts: FloatArray, least: int, pairs: int) -> BoolArray:
    """Which values (on the diagonal) and pairs (above it) have rows, but too few."""
    limits = np.full(counts.shape, pairs)
    np.fill_diagonal(limits, max(least, pairs))
    small: BoolArray = np.triu((counts > 0) & (counts < limits))
    return small


def _most_frequent(values: FloatArray) -> tuple[float, int]:
    """The most frequent value, and how many rows differ from it; (0, 0) of no rows.

    Where fewer than half of the rows differ it is the median, which is quick; otherwise rows count.
    """
    if not len(values):
        return 0.0, 0
    middle = float(np.partition(values, len(values) // 2)[len(values) // 2])
    others = int(np.count_nonzero(values != middle))
    if 2 * others < len(values):
        return middle, others
    distinct, counts = np.unique(values, return_counts=True)
    return float(distinct[np.argmax(counts)]), len(values) - int(counts.max())


def recode(study: Study, columns: Columns, least: int, pairs: int) -> Recoded:
    """Recode training rows until no value has 1 to ``least - 1`` rows, no pair 1 to ``pairs - 1``.

    Of a small pair the value that more rows share is recoded, unless it is the most frequent one:
    among many rows a few strangers do least harm. The columns that are given stay as they are.

    Raises
    ------
    DisclosureError
        When small groups are left: a fault in this function.

    A number that is missing (or present) in fewer rows gets the site's own median (or is taken as
    missing everywhere). A number whose most frequent value fewer rows than ``least`` differ from
    becomes that value, or the mean where the value itself is of fewer rows.
    """
    own = dict(columns)
    for _ in range(PASSES):
        if not (_recode_numbers(study, own, least) | _recode_pairs(study, own, least, pairs)):
            break
    else:
        raise DisclosureError("small groups are left after recoding")
    changed = sum(_differ(values, columns[name]) for name, values in own.items())
    return Recoded(own, changed)


def _differ(one: NDArray[Any], other: NDArray[Any]) -> int:
    if one is other:
        return 0
    return int(np.count_nonzero((one != other) & ((one == one) | (other == other))))


def _recode_numbers(study: Study, columns: dict[str, NDArray[Any]], least: int) -> bool:
    moved = False
    for feature in study.numbers:
        values = columns[feature.name]
        present = ~np.isnan(values)
        held = values[present]
        if _plainly_varied(held, least):
            continue
        if 0 < len(held) < least:
            columns[feature.name] = np.full_like(values, np.nan)
            moved = True
            continue
        value, others = _most_frequent(held)
        if 0 < others < least:
            constant = value if len(held) - others >= least else float(np.mean(held))
            columns[feature.name] = np.where(present, constant, values)
            moved = True
    return moved


def _plainly_varied(values: FloatArray, least: int) -> bool:
    """Whether the first few rows show that ``least`` rows differ from any value; quick."""
    first = values[: 4 * least + 4]
    _, counts = np.unique(first, return_counts=True)
    return len(first) - int(counts.max(initial=0)) >= least


def _recode_pairs(study: Study, columns: dict[str, NDArray[Any]], least: int, pairs: int) -> bool:
    codes = categorical_codes(study, columns)
    if not codes:
        return False
    counts, owners, table = _pair_counts(codes)
    moved = False
    for first, second in np.argwhere(_small(counts, least, pairs)):
        ways = sorted((first, second), key=lambda at: (-counts[at, at], at))
        rows = table[first] & table[second]
        for way in ways:
            if _move(study, columns, str(owners[way]), rows):
                moved = True
                break
    return moved


def _move(study: Study, columns: dict[str, NDArray[Any]], name: str, rows: BoolArray) -> bool:
    """Give rows their feature's most frequent value; whether any had another one."""
    values = columns[name]
    feature = next(f for f in study.features if f.name == name)
    if isinstance(feature, CategoryFeature):
        seen = np.bincount(values + 1)
        target = int(np.argmax(seen)) - 1
        differs = rows & (values != target)
        columns[name] = np.where(differs, target, values).astype(values.dtype)
        return bool(differs.any())
    missing = np.isnan(values)
    if missing.sum() * 2 >= len(values):
        differs, fill = rows & ~missing, np.nan
    else:
        differs, fill = rows & missing, float(np.median(values[~missing]))
    columns[name] = np.where(differs, fill, values)
    return bool(differs.any())


def has_small_groups(codes: Mapping[str, Codes], least: int, pairs: int) -> bool:
    """Whether a value has 1 to ``least - 1`` rows, or a pair of values 1 to ``pairs - 1``."""
    return bool(codes) and bool(_small(_pair_counts(codes)[0], least, pairs).any())


def _pair_counts(codes: Mapping[str, Codes]) -> tuple[FloatArray, NDArray[np.str_], BoolArray]:
    """Rows with both values, for every value and pair of values of different features.

    Returns
    -------
    counts : (values, values) array
        The diagonal counts single values; pairs of one feature's values are zero.
    owners : (values,) array
        The feature of each value.
    table : (values, rows) array of bool
    """
    held = {name: np.flatnonzero(np.bincount(values)) for name, values in codes.items()}
    owners = [name for name, values in held.items() for _ in values]
    rows = len(next(iter(codes.values())))
    table = np.empty((len(owners), rows), bool)
    pairs = ((codes[name], value) for name, values in held.items() for value in values)
    for place, (values, value) in enumerate(pairs):
        np.equal(values, value, out=table[place])
    weights = table.astype(np.float32)
    return (weights @ weights.T).astype(np.float64), np.array(owners), table


def merge_bins(counts: FloatArray, least: int) -> FloatArray:
    """Merge neighbouring bins from low to high until every bin holds 0 or ``least`` rows.

    A group's rows stand in its fullest bin where that one alone holds enough, else in its middle
    bin, which tells nothing about where in the group they are. What remains at the upper end joins
    the last group; fewer than ``least`` rows altogether are withheld.

    >>> merge_bins(np.array([0.0, 2.0, 2.0, 9.0, 1.0]), 3).tolist()
    [0.0, 4.0, 0.0, 10.0, 0.0]
    """
    merged = np.zeros_like(counts)
    for first, last in _groups(counts, least):
        held = counts[first:last]
        fullest = int(np.argmax(held))
        place = fullest if held[fullest] >= least else (last - first - 1) // 2
        merged[first + place] = held.sum()
    return merged


def _groups(counts: FloatArray, least: int) -> list[tuple[int, int]]:
    """Half-open ranges that tile the bins, each with ``least`` rows or more."""
    if counts.sum() < least or not counts.any():
        return []
    ends, held = [], 0.0
    for place in np.flatnonzero(counts):
        held += counts[place]
        if held >= least:
            ends.append(int(place) + 1)
            held = 0.0
    ends[-1] = len(counts)
    return list(zip([0, *ends[:-1]], ends, strict=True))


def hide_small_bins(study: Study, summary: FeatureSummary, least: int) -> FeatureSummary:
    """The summary with merged bins; its other fields are sums over recoded rows."""
    lengths = [len(feature_edges(feature)) + 1 for feature in study.numbers]
    pieces = [merge_bins(piece, least) for piece in split_by_feature(summary.bins, lengths)]
    bins = np.concatenate(pieces) if pieces else np.zeros(summary_dimensions(study)["bins"])
    return replace(summary, bins=bins)


def hide_small_counts(counts: SiteCounts, least: int, *, test: bool) -> SiteCounts:
    """Counts of fewer than ``least`` rows as zero, and the total without them.

    The total is what the others add up to, so that no subtraction brings a small count back.

    Parameters
    ----------
    counts : SiteCounts
    least : int
    test : bool
        Whether the test rows are enough to be told about. Otherwise zero rows and events, and
        nothing of what is counted over training and test rows together.
    """

    def shown(value: FloatArray) -> FloatArray:
        return np.where(value < least, 0.0, value)

    unlabelled, immature = shown(counts.unlabelled), shown(counts.immature)
    tested = float(counts.test) if test else 0.0
    usable = float(counts.train) + tested
    return replace(
        counts,
        rows=total(usable + float(unlabelled + immature)),
        test=total(tested),
        test_events=total(float(counts.test_events) if test else 0.0),
        unlabelled=unlabelled,
        immature=immature,
        treated=_hide_minority(counts.treated, usable, least) * test,
        implausible=_hide_minority(counts.implausible, usable, least) * test,
    )


def _hide_minority(part: FloatArray, whole: float, least: int) -> FloatArray:
    """Zero for a small part; the whole where what is left of it would be small."""
    hidden: FloatArray = np.where(part < least, 0.0, np.where(whole - part < least, whole, part))
    return hidden


def group_scores(logit: FloatArray, events: BoolArray, least: int, outcomes: int) -> FloatArray:
    """Scores of groups in place of rows: each group's mean, as the centre of a score bin.

    Everything that an evaluation tells is then made of groups: one row's score stands nowhere, and
    the centre of a bin of width 1/128 hides what an exact mean of chosen parameters would encode.

    Parameters
    ----------
    logit : (rows,) array
    events : (rows,) array of bool
    least : int
        Rows of a group. Up to 1 leaves the scores as they are.
    outcomes : int
        Events of a group that has any, and rows without the event of one that has any.
    """
    if least <= 1 or not len(logit):
        return logit
    return _merge_few_outcomes(_neighbours(logit, least), events, outcomes)


def _neighbours(logit: FloatArray, least: int) -> FloatArray:
    """Each row's score as the mean of its group of ``least`` neighbours or more."""
    edges = logit_edges()
    places = np.searchsorted(edges, logit, side="right")
    rows = np.bincount(places, minlength=len(edges) + 1).astype(np.float64)
    sums = np.bincount(places, np.clip(logit, edges[0], edges[-1]), minlength=len(edges) + 1)
    values = np.zeros(len(rows))
    for first, last in _groups(rows, least) or [(0, len(rows))]:
        values[first:last] = _centre(sums[first:last].sum() / rows[first:last].sum())
    grouped: FloatArray = values[places]
    return grouped


def _centre(logit: float) -> float:
    """The centre of the score bin that this lies in."""
    edges = logit_edges()
    width = edges[1] - edges[0]
    return float(edges[0] + (np.floor((logit - edges[0]) / width) + 0.5) * width)


def _merge_few_outcomes(scores: FloatArray, events: BoolArray, least: int) -> FloatArray:
    """Merge neighbouring groups with few of either outcome; risks, not log-odds, keep their sum.

    Made of groups' scores alone, so it tells no row's score that they did not tell.
    """
    distinct, places = np.unique(scores, return_inverse=True)
    rows = np.bincount(places).astype(np.float64)
    held = np.bincount(places, events).astype(np.float64)
    risk = expit(distinct)
    values = distinct.copy()
    for first, last in _outcome_groups(risk, rows, held, least):
        if last - first > 1:
            mean = np.average(risk[first:last], weights=rows[first:last])
            values[first:last] = _centre(float(np.log(mean) - np.log1p(-mean)))
    merged: FloatArray = values[places]
    return merged


def _outcome_groups(
    risk: FloatArray, rows: FloatArray, events: FloatArray, least: int
) -> list[tuple[int, int]]:
    """Half-open ranges that tile the groups, each with 0 or ``least`` of either outcome.

    Of all such tilings the one that joins least different risks: the sum of ``|p - q|`` over pairs
    of rows in one range, which is twice what their ties cost the AUROC in pairs of an event and a
    non-event, if outcomes follow the risks. So outcomes say what may be told apart, and scores
    alone what best to. One range where no tiling is possible. By dynamic programming, a range's
    cost by cumulative sums.
    """
    count, all_rows, all_events, all_risk = len(rows), *map(_from_zero, (rows, events, rows * risk))
    pairs = _from_zero(rows * (risk * all_rows[:-1] - all_risk[:-1]))
    best, start = np.full(count + 1, np.inf), np.zeros(count + 1, np.int64)
    best[0] = 0.0
    for end in range(1, count + 1):
        more, held = all_rows[end] - all_rows[:end], all_events[end] - all_events[:end]
        apart = pairs[end] - pairs[:end] - all_rows[:end] * (all_risk[end] - all_risk[:end])
        cost = best[:end] + apart + all_risk[:end] * more
        cost[_few(held, least) | _few(more - held, least)] = np.inf
        start[end] = np.argmin(cost)
        best[end] = cost[start[end]]
    return _followed(start) if np.isfinite(best[-1]) else [(0, count)]


def _from_zero(values: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(values)])


def _few(counts: FloatArray, least: int) -> BoolArray:
    few: BoolArray = (counts > 0) & (counts < least)
    return few


def _followed(start: Codes) -> list[tuple[int, int]]:
    """The ranges, from the last one's start back."""
    ranges, end = [], len(start) - 1
    while end:
        ranges.append((int(start[end]), end))
        end = int(start[end])
    return ranges[::-1]


def withheld(sums: EvaluationSums) -> EvaluationSums:
    """An evaluation that says nothing, and adds nothing to the federation's."""
    return EvaluationSums(**{name: np.zeros_like(value) for name, value in sums.arrays().items()})
