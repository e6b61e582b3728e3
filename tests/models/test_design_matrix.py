from __future__ import annotations

import json
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from fedrisk.errors import ConvergenceError
from fedrisk.models.design_matrix import DesignMatrix, design_from_summary
from fedrisk.models.summary import better_centres, medians, modes, summarise
from fedrisk.study import CategoryFeature, parse_study

seeds = st.integers(0, 2**32 - 1)


def pooled_matrix(study, columns, median, mode):
    """The filled design before standardisation, written down a second time from its definition."""
    parts = []
    for feature in study.features:
        values = columns[feature.name]
        if isinstance(feature, CategoryFeature):
            missing = values < 0
            filled = np.where(missing, mode[feature.name], values)
            parts += [filled == code for code in range(1, len(feature.levels))]
        else:
            missing = np.isnan(values)
            parts.append(np.where(missing, median[feature.name], values))
        if feature.missing == "allow":
            parts.append(missing)
    return np.column_stack(parts).astype(float)


@given(seed=seeds, sites=st.integers(1, 8))
@settings(max_examples=80, deadline=None)
def test_standardisation_is_that_of_the_pooled_filled_rows(make_cohort, seed, sites):
    cohort = make_cohort(seed, rows=200, sites=sites)
    centres = better_centres(cohort.study, cohort.summary())
    summary = cohort.summary(centres)
    design = design_from_summary(cohort.study, summary, centres)
    fills = medians(cohort.study, summary, centres), modes(cohort.study, summary)
    pooled = pooled_matrix(cohort.study, cohort.columns, *fills)
    scaler = StandardScaler().fit(pooled)
    constant = np.ptp(pooled, axis=0) <= 1e-14 * np.abs(pooled).max(axis=0)
    expected = np.where(constant, 0.0, scaler.transform(pooled))
    assert design.constant.tolist() == constant.tolist()
    np.testing.assert_allclose(design.transform(cohort.columns), expected, rtol=0, atol=1e-9)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_where_rows_live_does_not_matter(make_cohort, seed):
    cohort = make_cohort(seed, rows=100, sites=5)
    apart = design_from_summary(cohort.study, cohort.summary())
    one = replace(cohort, sites=1, site=np.zeros(100, int))
    pooled = design_from_summary(one.study, one.summary())
    assert apart.names == pooled.names
    for here, there in zip(apart.columns, pooled.columns, strict=True):
        assert here.mean == pytest.approx(there.mean, rel=1e-12, abs=1e-12 * there.scale)
        assert here.scale == pytest.approx(there.scale, rel=1e-10)


def study_of(*features):
    return parse_study({"name": "s", "label": "y", "positive": [1], "features": list(features)})


def summary_of(study, sites, centres=None):
    rows = [len(next(iter(columns.values()))) for columns in sites]
    parts = zip(sites, rows, strict=True)
    return reduce(add, (summarise(study, c, np.zeros(n, bool), centres) for c, n in parts))


def design_of(study, *sites):
    return design_from_summary(study, summary_of(study, sites))


def second_design_of(study, *sites):
    centres = better_centres(study, summary_of(study, sites))
    assert centres is not None
    return design_from_summary(study, summary_of(study, sites, centres), centres)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-9, -1e12, 36.6, 1e6 / 7])
@pytest.mark.parametrize("bounds", [{}, {"minimum": -2e12, "maximum": 2e12}])
def test_a_constant_column_is_held_at_zero_whatever_its_rounding(value, bounds, missing):
    study = study_of({"name": "x", "kind": "number", "missing": "allow", **bounds})
    sites = [{"x": np.full(n, value)} for n in (1, 1000, 333, 0)]
    if missing:
        sites[1]["x"][:300] = np.nan
    design = second_design_of(study, *sites)
    assert design.constant.tolist() == [True, not missing]
    assert design.columns[0].scale == 1.0
    assert (design.transform({"x": np.array([value, value + 1])})[:, 0] == 0).all()


def test_a_column_that_varies_once_in_a_million_rows_is_not_constant():
    values = np.full(1_000_000, 20.0)
    values[7] = 21.0
    study = study_of({"name": "x", "kind": "number", "minimum": 0, "maximum": 100})
    (column,) = design_of(study, {"x": values}).columns
    assert not column.constant
    assert column.scale == pytest.approx(values.std(), rel=1e-4)


def test_a_column_without_a_single_value_is_constant_and_its_indicator_too():
    study = study_of(
        {"name": "x", "kind": "number", "minimum": 100, "maximum": 200, "missing": "allow"},
        {"name": "c", "kind": "category", "levels": ["a", "b"], "missing": "allow"},
    )
    design = design_of(study, {"x": np.full(9, np.nan), "c": np.full(9, -1, np.int32)})
    assert design.names == ("x", "x:missing", "c=b", "c:missing")
    assert design.constant.all()
    assert 100 <= design.columns[0].fill <= 200


def test_a_value_missing_at_one_site_alone_is_filled_by_the_others_median():
    study = study_of({"name": "x", "kind": "number", "missing": "allow"})
    design = design_of(study, {"x": np.full(5, np.nan)}, {"x": np.array([9.0, 10.0, 11.0] * 5)})
    value, indicator = design.columns
    assert value.fill == pytest.approx(10.0, rel=0.1)
    assert indicator.mean == pytest.approx(5 / 20)


def test_no_rows_at_all_is_an_error_with_a_hint():
    study = study_of({"name": "x", "kind": "number"})
    with pytest.raises(ConvergenceError, match="no site has a row") as caught:
        design_of(study, {"x": np.zeros(0)})
    assert "study check" in caught.value.hint


def test_large_values_far_from_zero_keep_their_standard_deviation_between_bounds():
    rng = np.random.default_rng(0)
    values = 101_325 + rng.normal(size=5000)  # air pressure in pascal
    study = study_of({"name": "x", "kind": "number", "minimum": 87_000, "maximum": 108_500})
    (column,) = design_of(study, {"x": values[:10]}, {"x": values[10:]}).columns
    assert column.scale == pytest.approx(values.std(), rel=1e-7)


@pytest.mark.parametrize("offset", [1e3, 1e6, -1e6, 1.7e9, 1e12])
def test_sums_about_the_means_keep_the_digits_far_from_zero(offset):
    rng = np.random.default_rng(1)
    values = offset + np.round(rng.normal(size=5000) * 1024) / 1024  # exact in binary
    study = study_of({"name": "x", "kind": "number"})
    (column,) = second_design_of(study, {"x": values[:70]}, {"x": values[70:]}).columns
    deviations = values - offset
    assert column.scale == pytest.approx(deviations.std(), rel=1e-12)
    assert column.mean - offset == pytest.approx(deviations.mean(), abs=2e-16 * abs(offset))


def test_a_missing_value_far_from_zero_is_filled_within_a_standard_deviation_of_the_mean():
    rng = np.random.default_rng(1)
    values = 1.7e9 + rng.normal(size=500)
    values[::7] = np.nan
    study = study_of({"name": "x", "kind": "number", "missing": "allow"})
    column, _ = second_design_of(study, {"x": values}).columns
    assert abs(column.fill - np.nanmean(values)) <= 1.001 * np.nanstd(values)
    assert not column.constant


def test_the_document_rebuilds_the_design(make_cohort):
    cohort = make_cohort(3, rows=50)
    design = design_from_summary(cohort.study, cohort.summary())
    assert DesignMatrix.from_document(json.loads(json.dumps(design.document()))) == design


def test_rows_are_in_c_order_and_none_give_none(make_cohort):
    cohort = make_cohort(3, rows=50)
    design = design_from_summary(cohort.study, cohort.summary())
    assert design.transform(cohort.columns).flags.c_contiguous
    nothing = {name: values[:0] for name, values in cohort.columns.items()}
    assert design.transform(nothing).shape == (0, len(design.columns))
