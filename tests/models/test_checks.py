from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.errors import ModelFileError
from fedrisk.models.checks import columns_from_rows, make_checks, self_test
from fedrisk.models.logistic import LogisticModel
from fedrisk.study import NumberFeature, parse_study


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_model_passes_its_own_checks_and_any_changed_term_fails(make_cohort, fit, seed):
    model = fit(make_cohort(seed, rows=100))
    checks = json.loads(json.dumps(make_checks(model), allow_nan=False))
    self_test(model, checks)
    self_test(LogisticModel.from_document(json.loads(json.dumps(model.document()))), checks)
    for place in np.flatnonzero(~model.design.constant):
        changed = model.coefficients.copy()
        changed[place] += 1e-4
        with pytest.raises(ModelFileError, match="self-test failed"):
            self_test(replace(model, coefficients=changed), checks)
    with pytest.raises(ModelFileError):
        self_test(replace(model, intercept=model.intercept + 1e-4), checks)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_checks_are_valid_rows_of_the_study(make_cohort, fit, seed):
    model = fit(make_cohort(seed, rows=60))
    for check in make_checks(model):
        for feature in model.study.features:
            value = check["row"][feature.name]
            if value is None:
                assert feature.missing == "allow"
            elif isinstance(feature, NumberFeature):
                low = -np.inf if feature.minimum is None else feature.minimum
                high = np.inf if feature.maximum is None else feature.maximum
                assert low <= value <= high
            else:
                assert value in feature.levels


@pytest.fixture(scope="module")
def model(make_cohort, fit):
    return fit(make_cohort(13, rows=100, plain=True))


@pytest.mark.parametrize(
    "damage",
    [
        lambda checks: [],
        lambda checks: [{**checks[0], "risk": float("nan")}],
        lambda checks: [{**checks[0], "risk": "high"}],
        lambda checks: [{"row": checks[0]["row"]}],
        lambda checks: [{"risk": 0.5}],
        lambda checks: [{**checks[0], "row": dict.fromkeys(checks[0]["row"], "a word")}],
        lambda checks: ["row"],
    ],
)
def test_damaged_checks_are_a_model_file_error(model, damage):
    with pytest.raises(ModelFileError):
        self_test(model, damage(make_checks(model)))


def test_columns_from_rows():
    study = parse_study(
        {
            "name": "s",
            "label": "y",
            "positive": [1],
            "features": [
                {"name": "x", "kind": "number", "missing": "allow"},
                {"name": "c", "kind": "category", "levels": ["a", "b"], "missing": "allow"},
            ],
        }
    )
    columns = columns_from_rows(study, [{"x": 1, "c": "b"}, {"x": None}, {"c": "a"}])
    np.testing.assert_array_equal(columns["x"], [1.0, np.nan, np.nan])
    assert columns["x"].dtype == np.float64
    assert columns["c"].tolist() == [1, -1, 0]


@pytest.mark.parametrize("kinds", ["n", "c", "nn", "cnc"])
def test_columns_of_few_features_and_of_no_rows(kinds: str) -> None:
    features = [
        {"name": f"f{place}", "kind": "number", "missing": "allow"}
        if kind == "n"
        else {"name": f"f{place}", "kind": "category", "levels": ["a", "b"], "missing": "allow"}
        for place, kind in enumerate(kinds)
    ]
    study = parse_study({"name": "s", "label": "y", "positive": [1], "features": features})
    value = {"n": (2.5, np.nan), "c": (1, -1)}
    rows = [{f"f{place}": 2.5 if kind == "n" else "b" for place, kind in enumerate(kinds)}]
    columns = columns_from_rows(study, [*rows, dict.fromkeys(rows[0]), {}])
    assert list(columns) == [f"f{place}" for place in range(len(kinds))]
    for place, kind in enumerate(kinds):
        present, missing = value[kind]
        np.testing.assert_array_equal(columns[f"f{place}"], [present, missing, missing])
    assert [len(column) for column in columns_from_rows(study, []).values()] == [0] * len(kinds)
