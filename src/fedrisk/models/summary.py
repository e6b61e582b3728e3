"""The first message's answer: counts, sums, squares and bin counts of one site's training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedrisk.models.bins import count, feature_centre, feature_edges, quantile
from fedrisk.study import Study
from fedrisk.study.records import BoolArray, Columns, FloatArray, SumRecord, axes, total


@dataclass(frozen=True)
class FeatureSummary(SumRecord):
    """Sums over training rows that standardisation, imputation and the first guess need.

    Number features come in the study's order; ``bins`` and ``levels`` run through all features one
    after the other. Sums are about `fedrisk.models.bins.feature_centre`, in the feature's unit.
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


def summarise(study: Study, columns: Columns, events: BoolArray) -> FeatureSummary:
    """Sum up one site's training rows.

    Parameters
    ----------
    study : Study
    columns : mapping of name to (rows,) array
        Floats with NaN, or level codes with -1, where a value is missing.
    events : (rows,) array of bool
    """
    shifted = [columns[f.name] - feature_centre(f) for f in study.numbers]
    bins = [count(columns[f.name], feature_edges(f)) for f in study.numbers]
    levels = [
        np.bincount(columns[f.name][columns[f.name] >= 0], minlength=len(f.levels))
        for f in study.categories
    ]
    return FeatureSummary(
        rows=total(len(events)),
        events=total(events.sum()),
        present=np.array([(~np.isnan(v)).sum() for v in shifted], np.float64),
        sums=np.array([np.nansum(v) for v in shifted], np.float64),
        squares=np.array([np.nansum(v * v) for v in shifted], np.float64),
        bins=np.concatenate(bins) if bins else np.zeros(0),
        levels=np.concatenate(levels).astype(np.float64) if levels else np.zeros(0),
    )


def split_by_feature(flat: FloatArray, lengths: list[int]) -> list[FloatArray]:
    """Cut an axis that runs through all features into one piece for each."""
    return np.split(flat, np.cumsum(lengths)[:-1]) if lengths else []


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


def medians(study: Study, summary: FeatureSummary) -> dict[str, float]:
    """Binned median of every number feature over all sites, in its unit.

    A feature without a single value gets `fedrisk.models.bins.feature_centre`.
    """
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
