"""The first message's answer: counts, sums, squares and bin counts of one site's training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedrisk.models.bins import count, feature_centre, feature_edges, quantile
from fedrisk.study import Study
from fedrisk.study.records import BoolArray, Columns, FloatArray, SumRecord, axes, total

#: Largest squared distance of a mean from the centre, in variances. A variance is a difference of
#: two numbers of the first size, so at this one it has lost four of its sixteen digits.
FAR_OFF = 1e4


@dataclass(frozen=True)
class FeatureSummary(SumRecord):
    """Sums over training rows that standardisation, imputation and the first guess need.

    Number features come in the study's order; ``bins`` and ``levels`` run through all features one
    after the other. Sums are about `study_centres`, or about those that the question names, in the
    feature's unit.
    """

    NAME: ClassVar[str] = "feature_summary"

    rows: FloatArray = axes()
    events: FloatArray = axes()
    present: FloatArray = axes("numbers")
    sums: FloatArray = axes("numbers")
    squares: FloatArray = axes("numbers")
    bins: FloatArray = axes("bins")
    levels: FloatArray = axes("levels")


@dataclass(frozen=True)
class SiteCounts(SumRecord):
    """How many rows a site read and why some of them take no part.

    ``unlabelled`` rows have no label, ``immature`` ones not yet; ``treated`` ones had care because
    of a score and do take part. ``implausible`` counts values outside the plausible range.
    """

    NAME: ClassVar[str] = "site_counts"

    rows: FloatArray = axes()
    train: FloatArray = axes()
    train_events: FloatArray = axes()
    test: FloatArray = axes()
    test_events: FloatArray = axes()
    unlabelled: FloatArray = axes()
    immature: FloatArray = axes()
    treated: FloatArray = axes()
    implausible: FloatArray = axes("numbers")


def summary_dimensions(study: Study) -> dict[str, int]:
    """Length of each axis of a `FeatureSummary`."""
    return {
        "numbers": len(study.numbers),
        "bins": sum(len(feature_edges(feature)) + 1 for feature in study.numbers),
        "levels": sum(len(feature.levels) for feature in study.categories),
    }


def study_centres(study: Study) -> FloatArray:
    """What sums are about unless the question says otherwise, ``(numbers,)``."""
    return np.array([feature_centre(feature) for feature in study.numbers], np.float64)


def summarise(
    study: Study, columns: Columns, events: BoolArray, centres: FloatArray | None = None
) -> FeatureSummary:
    """Sum up one site's training rows.

    Parameters
    ----------
    study : Study
    columns : mapping of name to (rows,) array
        Floats with NaN, or level codes with -1, where a value is missing.
    events : (rows,) array of bool
    centres : (numbers,) array, optional
        What sums and squares are about, in place of `study_centres`.
    """
    values = [columns[f.name] for f in study.numbers]
    about = study_centres(study)
    moments = (
        [_moments(v - c) for v, c in zip(values, about, strict=True)]
        if centres is None
        else [_moments_about(v, float(c)) for v, c in zip(values, centres, strict=True)]
    )
    bins = [count(columns[f.name], feature_edges(f)) for f in study.numbers]
    levels = [
        np.bincount(columns[f.name][columns[f.name] >= 0], minlength=len(f.levels))
        for f in study.categories
    ]
    return FeatureSummary(
        rows=total(len(events)),
        events=total(events.sum()),
        present=np.array([(~np.isnan(v)).sum() for v in values], np.float64),
        sums=np.array([total for total, _ in moments], np.float64),
        squares=np.array([square for _, square in moments], np.float64),
        bins=np.concatenate(bins) if bins else np.zeros(0),
        levels=np.concatenate(levels).astype(np.float64) if levels else np.zeros(0),
    )


def _moments(deviations: FloatArray) -> tuple[float, float]:
    return float(np.nansum(deviations)), float(np.nansum(deviations * deviations))


def _moments_about(values: FloatArray, centre: float) -> tuple[float, float]:
    """Sum and sum of squares about a centre that somebody else chose.

    They are moved there from the values' own mean, so all that they depend on are the count, the
    sum and the sum of squares, whatever the centre. Subtracting it from each value would round each
    to a grid that the centre's size sets: a huge centre would count the values beyond a threshold.
    """
    present = int((~np.isnan(values)).sum())
    if not present:
        return 0.0, 0.0
    mean = float(np.nansum(values)) / present
    rest, square = _moments(values - mean)
    shift = mean - centre
    return rest + present * shift, square + 2 * shift * rest + present * shift * shift


def better_centres(study: Study, summary: FeatureSummary) -> FloatArray | None:
    """The means of all sites' numbers, where the variance about the study's centres lost digits.

    Parameters
    ----------
    study : Study
    summary : FeatureSummary
        Of all sites, about `study_centres`.

    Returns
    -------
    (numbers,) array or None
        Centres to ask the summary about once more; none where every number is well-conditioned.
    """
    offset, variance = offset_and_variance(summary)
    if not np.any(offset**2 > FAR_OFF * variance):
        return None
    centres: FloatArray = study_centres(study) + offset
    return centres


def offset_and_variance(summary: FeatureSummary) -> tuple[FloatArray, FloatArray]:
    """Mean less centre, and population variance, of every number's values; 0 where there are none.

    A variance below zero is rounding.
    """
    present = np.maximum(summary.present, 1.0)
    offset = summary.sums / present
    return offset, summary.squares / present - offset**2


def split_by_feature(flat: FloatArray, lengths: list[int]) -> list[FloatArray]:
    """Cut an axis that runs through all features into one piece for each."""
    return np.split(flat, np.cumsum(lengths)[:-1], axis=-1) if lengths else []


def bins_by_feature(study: Study, summary: FeatureSummary) -> dict[str, FloatArray]:
    """Bin counts of every number feature, by name."""
    lengths = [len(feature_edges(feature)) + 1 for feature in study.numbers]
    pieces = split_by_feature(summary.bins, lengths)
    return {f.name: piece for f, piece in zip(study.numbers, pieces, strict=True)}


def levels_by_feature(study: Study, summary: FeatureSummary) -> dict[str, FloatArray]:
    """Counts of every category feature's levels, by name."""
    lengths = [len(feature.levels) for feature in study.categories]
    pieces = split_by_feature(summary.levels, lengths)
    return {f.name: piece for f, piece in zip(study.categories, pieces, strict=True)}


def medians(
    study: Study, summary: FeatureSummary, centres: FloatArray | None = None
) -> dict[str, float]:
    """Binned median of every number feature over all sites, in its unit.

    A feature without a single value gets `fedrisk.models.bins.feature_centre`. Where the sums had
    to be taken about other ``centres``, values may all lie in one wide bin; then the median is kept
    within one standard deviation of the mean, where every median lies (Hotelling & Solomons 1932).
    """
    binned = _binned_medians(study, summary)
    if centres is None:
        return binned
    offset, variance = offset_and_variance(summary)
    mean, spread = centres + offset, np.sqrt(np.maximum(variance, 0.0))
    held = np.clip(list(binned.values()), mean - spread, mean + spread)
    return {
        name: float(inside) if present else binned[name]
        for name, inside, present in zip(binned, held, summary.present, strict=True)
    }


def _binned_medians(study: Study, summary: FeatureSummary) -> dict[str, float]:
    counts = bins_by_feature(study, summary)
    return {
        f.name: quantile(counts[f.name], feature_edges(f), 0.5)
        if counts[f.name].any()
        else feature_centre(f)
        for f in study.numbers
    }


def modes(study: Study, summary: FeatureSummary) -> dict[str, int]:
    """Code of the most frequent level of every category feature; ties go to the first."""
    return {name: int(np.argmax(c)) for name, c in levels_by_feature(study, summary).items()}


def reference(study: Study, summary: FeatureSummary) -> Mapping[str, object]:
    """Bins and counts of the training rows (reference.json), the window that drift is seen from."""
    counts = bins_by_feature(study, summary)
    missing = {
        f.name: float(summary.rows - n) for f, n in zip(study.numbers, summary.present, strict=True)
    }
    numbers = {
        f.name: {
            "edges": feature_edges(f).tolist(),
            "counts": counts[f.name].tolist(),
            "missing": missing[f.name],
        }
        for f in study.numbers
    }
    categories = {
        name: {
            "counts": c.tolist(),
            "missing": float(summary.rows - c.sum()),
        }
        for name, c in levels_by_feature(study, summary).items()
    }
    return {
        "rows": float(summary.rows),
        "events": float(summary.events),
        "numbers": numbers,
        "categories": categories,
    }
