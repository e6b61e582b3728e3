from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.models.summary import (
    FeatureSummary,
    bins_by_feature,
    levels_by_feature,
    medians,
    modes,
    reference,
    summarise,
    summary_dimensions,
)
from fedrisk.study import parse_study

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, rows=st.integers(2, 60), sites=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_every_site_sends_declared_shapes_and_sums_of_counts(make_cohort, seed, rows, sites):
    cohort = make_cohort(seed, rows=rows, sites=sites)
    dimensions = summary_dimensions(cohort.study)
    for columns, events in cohort.parts():
        summary = summarise(cohort.study, columns, events)
        summary.check(dimensions)
        again = FeatureSummary.from_arrays(summary.arrays(), dimensions)
        assert float(again.rows) == len(events)
    total = cohort.summary()
    assert float(total.rows) == rows
    assert float(total.events) == cohort.events.sum()
    for feature, counts in bins_by_feature(cohort.study, total).items():
        assert counts.sum() == (~np.isnan(cohort.columns[feature])).sum()
    for feature, counts in levels_by_feature(cohort.study, total).items():
        assert counts.sum() == (cohort.columns[feature] >= 0).sum()


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_the_reference_is_json_and_accounts_for_every_row(make_cohort, seed):
    cohort = make_cohort(seed, rows=80)
    document = json.loads(json.dumps(reference(cohort.study, cohort.summary())))
    assert document["rows"] == 80
    for entry in [*document["numbers"].values(), *document["categories"].values()]:
        assert sum(entry["counts"]) + entry["missing"] == 80


def test_median_and_mode():
    study = parse_study(
        {
            "name": "s",
            "label": "y",
            "positive": [1],
            "features": [
                {"name": "x", "kind": "number", "minimum": 0, "maximum": 256, "missing": "allow"},
                {"name": "c", "kind": "category", "levels": ["a", "b", "c"], "missing": "allow"},
            ],
        }
    )
    columns = {
        "x": np.array([1.5, 2.5, 3.5, 200.5, np.nan]),
        "c": np.array([2, 1, 2, 1, -1], np.int32),
    }
    summary = summarise(study, columns, np.zeros(5, bool))
    assert 2 <= medians(study, summary)["x"] <= 4
    assert modes(study, summary) == {"c": 1}  # a tie goes to the first


def test_a_study_of_one_kind_only():
    numbers = parse_study(
        {"name": "s", "label": "y", "positive": [1], "features": [{"name": "x", "kind": "number"}]}
    )
    summary = summarise(numbers, {"x": np.ones(3)}, np.zeros(3, bool))
    summary.check(summary_dimensions(numbers))
    assert modes(numbers, summary) == {}
    categories = parse_study(
        {
            "name": "s",
            "label": "y",
            "positive": [1],
            "features": [{"name": "c", "kind": "category", "levels": ["a", "b"]}],
        }
    )
    summary = summarise(categories, {"c": np.zeros(3, np.int32)}, np.zeros(3, bool))
    summary.check(summary_dimensions(categories))
    assert medians(categories, summary) == {}
