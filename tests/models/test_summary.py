from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.models.summary import (
    FeatureSummary,
    better_centres,
    bins_by_feature,
    levels_by_feature,
    medians,
    modes,
    reference,
    study_centres,
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


def numbers(*entries):
    features = [{"name": name, "kind": "number", **more} for name, more in entries]
    return parse_study({"name": "s", "label": "y", "positive": [1], "features": features})


@given(seed=seeds, rows=st.integers(2, 60), sites=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_sums_about_any_centre_follow_from_those_about_another(make_cohort, seed, rows, sites):
    cohort = make_cohort(seed, rows=rows, sites=sites)
    first = cohort.summary()
    shift = np.random.default_rng(seed).normal(size=len(first.sums)) * 10
    again = cohort.summary(study_centres(cohort.study) + shift)
    size = first.squares + first.present * shift**2 + 1
    assert (abs(again.sums - (first.sums - first.present * shift)) <= 1e-9 * size).all()
    squares = first.squares - 2 * shift * first.sums + first.present * shift**2
    assert (abs(again.squares - squares) <= 1e-9 * size).all()
    for name in ("rows", "events", "present", "bins", "levels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


def test_no_centre_makes_the_sums_depend_on_more_than_count_sum_and_squares():
    """Two sites that agree in these answer the same, also where rounding would tell them apart."""
    study = numbers(("x", {}))
    one, other = np.array([1.0, 5.0, 6.0, 8.0]), np.array([2.0, 3.0, 7.0, 8.0])
    assert (one.sum(), (one**2).sum()) == (other.sum(), (other**2).sum()) == (20, 126)
    for centre in (2.0**55, -(2.0**60), 1e30):  # the last digit of each is more than any value
        sums = [
            summarise(study, {"x": v}, np.zeros(4, bool), np.array([centre])).arrays()
            for v in (one, other)
        ]
        for name in ("sums", "squares"):
            np.testing.assert_array_equal(sums[0][name], sums[1][name])


def test_other_centres_are_wanted_only_where_a_variance_lost_its_digits():
    rng = np.random.default_rng(0)
    near, far = rng.normal(90, 1, 400), rng.normal(200, 1, 400)
    study, events = numbers(("x", {}), ("z", {})), np.zeros(400, bool)
    assert better_centres(study, summarise(study, {"x": near, "z": near}, events)) is None
    centres = better_centres(study, summarise(study, {"x": near, "z": far}, events))
    np.testing.assert_allclose(centres, [near.mean(), far.mean()], rtol=1e-14)
    bounded = numbers(("x", {}), ("z", {"minimum": 180, "maximum": 220}))
    assert better_centres(bounded, summarise(bounded, {"x": near, "z": far}, events)) is None
    nothing = {"x": np.full(400, np.nan), "z": near}
    assert better_centres(study, summarise(study, nothing, events)) is None
