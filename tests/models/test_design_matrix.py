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
from fedrisk.models.summary import medians, modes, summarise
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
    summary = cohort.summary()
    design = design_from_summary(cohort.study, summary)
    fills = medians(cohort.study, summary), modes(cohort.study, summary)
    pooled = pooled_matrix(cohort.study, cohort.columns, *fills)
    scaler = StandardScaler().fit(pooled)
    expected = np.where(np.ptp(pooled, axis=0) == 0, 0.0, scaler.transform(pooled))
    assert design.constant.tolist() == (np.ptp(pooled, axis=0) == 0).tolist()
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


def design_of(study, *sites):
    rows = [len(next(iter(columns.values()))) for columns in sites]
    parts = [summarise(study, c, np.zeros(n, bool)) for c, n in zip(sites, rows, strict=True)]
    return design_from_summary(study, reduce(add, parts))


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e-9, -1e12, 36.6, 1e6 / 7])
@pytest.mark.parametrize("bounds", [{}, {"minimum": -2e12, "maximum": 2e12}])
def test_a_constant_column_is_held_at_zero_whatever_its_rounding(value, bounds):
    study = study_of({"name": "x", "kind": "number", **bounds})
    design = design_of(study, *({"x": np.full(n, value)} for n in (1, 1000, 333, 0)))
    assert design.constant.tolist() == [True]
    assert design.columns[0].scale == 1.0
    assert (design.transform({"x": np.array([value, value + 1])}) == 0).all()


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
