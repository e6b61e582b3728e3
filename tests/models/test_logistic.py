from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.errors import ModelFileError
from fedrisk.models.logistic import Z95, LogisticModel, NumberTerm, expit

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def cohort(make_cohort):
    return make_cohort(25, rows=200, plain=True)


@pytest.fixture(scope="module")
def model(fit, cohort):
    return fit(cohort)


@pytest.fixture
def document(model):
    return json.loads(json.dumps(model.document(), allow_nan=False))


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_contributions_and_intercept_add_up_to_the_logit_of_the_design(make_cohort, fit, seed):
    cohort = make_cohort(seed, rows=120)
    model = fit(cohort)
    matrix = model.design.transform(cohort.columns)
    expected = model.intercept + matrix @ model.coefficients
    parts = model.contributions(cohort.columns)
    assert list(parts) == list(cohort.study.feature_names)
    np.testing.assert_allclose(model.intercept + sum(parts.values()), expected, atol=1e-9)
    np.testing.assert_allclose(model.logit(cohort.columns), expected, atol=1e-9)
    np.testing.assert_allclose(model.risk(cohort.columns), expit(expected), atol=1e-12)
    # A contribution is against average values: over the training rows they average zero.
    np.testing.assert_allclose([part.mean() for part in parts.values()], 0, atol=1e-8)


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_the_document_rebuilds_the_model_to_the_last_bit(make_cohort, fit, seed):
    cohort = make_cohort(seed, rows=60)
    model = fit(cohort)
    text = json.dumps(model.document(), allow_nan=False)
    again = LogisticModel.from_document(json.loads(text))
    assert json.dumps(again.document()) == text
    np.testing.assert_array_equal(again.logit(cohort.columns), model.logit(cohort.columns))
    for here, there in zip(
        again.interval(cohort.columns), model.interval(cohort.columns), strict=True
    ):
        np.testing.assert_array_equal(here, there)


def test_the_interval_is_that_of_the_linear_predictor(model, cohort):
    low, high = model.interval(cohort.columns)
    risk = model.risk(cohort.columns)
    assert (low < risk).all()
    assert (risk < high).all()
    row = np.concatenate([[1.0], model.design.transform(cohort.columns)[5]])
    spread = Z95 * math.sqrt(row @ model.covariance @ row)
    logit = model.logit(cohort.columns)[5]
    assert low[5] == pytest.approx(1 / (1 + math.exp(-(logit - spread))))
    assert high[5] == pytest.approx(1 / (1 + math.exp(-(logit + spread))))


def test_the_document_says_units_errors_and_odds_ratios(model, document):
    assert document["kind"] == "logistic"
    assert document["intercept_standard_error"] == model.standard_errors[0]
    for entry, weight in zip(document["columns"], model.coefficients, strict=True):
        assert entry["coefficient"] == weight
        ratio = math.exp(weight / entry["scale"])
        assert entry["odds_ratio_per_unit"] == pytest.approx(ratio)


def test_an_odds_ratio_beyond_floats_is_null(document):
    steep = next(e for e in document["columns"] if e["kind"] == "value" and not e["constant"])
    steep |= {"scale": 1e-9, "coefficient": 1.0}
    columns = LogisticModel.from_document(document).document()["columns"]
    entry = next(e for e in columns if e["name"] == steep["name"])
    assert entry["odds_ratio_per_unit"] is None


DAMAGE = {
    "not a mapping": lambda d: None,
    "newer": lambda d: d | {"format": 99},
    "other kind": lambda d: d | {"kind": "forest"},
    "format in words": lambda d: d | {"format": "one"},
    "no intercept": lambda d: {k: v for k, v in d.items() if k != "intercept"},
    "intercept in words": lambda d: d | {"intercept": "high"},
    "intercept not finite": lambda d: d | {"intercept": float("nan")},
    "study changed": lambda d: d | {"study": d["study"] | {"label": "other"}},
    "study damaged": lambda d: d | {"study": {}},
    "study missing": lambda d: d | {"study": None},
    "hash missing": lambda d: {k: v for k, v in d.items() if k != "study_hash"},
    "covariance cut": lambda d: d | {"covariance": d["covariance"][:-1]},
    "covariance ragged": lambda d: (
        d | {"covariance": [d["covariance"][0][:-1], *d["covariance"][1:]]}
    ),
    "column dropped": lambda d: d | {"columns": d["columns"][:-1]},
    "columns reversed": lambda d: d | {"columns": d["columns"][::-1]},
    "columns gone": lambda d: d | {"columns": []},
    "feature unknown": lambda d: d | {"columns": [c | {"feature": "nobody"} for c in d["columns"]]},
    "mean missing": lambda d: (
        d | {"columns": [{k: v for k, v in c.items() if k != "mean"} for c in d["columns"]]}
    ),
    "scale zero": lambda d: d | {"columns": [c | {"scale": 0.0} for c in d["columns"]]},
    "coefficient infinite": lambda d: (
        d | {"columns": [c | {"coefficient": float("inf")} for c in d["columns"]]}
    ),
    "column a list": lambda d: d | {"columns": [[1, 2]]},
    "variance negative": lambda d: d | {"covariance": (-np.array(d["covariance"])).tolist()},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_document_is_a_model_file_error(document, damage):
    with pytest.raises(ModelFileError):
        LogisticModel.from_document(DAMAGE[damage](document))


def test_a_missing_number_has_its_own_contribution():
    term = NumberTerm(mean=10.0, slope=0.5, offset=0.1, missing=-2.0)
    np.testing.assert_allclose(term(np.array([12.0, np.nan])), [1.1, -2.0])


@given(st.floats(-700, 700))
def test_expit_is_accurate_and_symmetric(logit):
    risk = expit(np.array([logit, -logit]))
    if logit < 0:
        assert risk[0] == pytest.approx(math.exp(logit) / (1 + math.exp(logit)), rel=1e-14)
    assert risk.sum() == pytest.approx(1.0, abs=1e-15)
