from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from fedrisk.models.checks import columns_from_rows
from fedrisk.models.logistic import LogisticModel
from fedrisk.serving.explaining import RowExplainer, sigmoid

from .conftest import STUDY, fit
from .test_scoring import rows

MODEL, _ = fit()
EXPLAINER = RowExplainer(MODEL)


@given(rows)
def test_one_row_is_explained_as_the_model_says(row: dict) -> None:
    columns = columns_from_rows(STUDY, [row])
    explanation = EXPLAINER.explain(row)
    low, high = MODEL.interval(columns)
    assert explanation.interval == pytest.approx((low[0], high[0]), abs=1e-9)
    expected = {name: values[0] for name, values in MODEL.contributions(columns).items()}
    assert explanation.contributions == pytest.approx(expected, abs=1e-9)
    logit = explanation.intercept + sum(explanation.contributions.values())
    assert sigmoid(logit) == pytest.approx(MODEL.risk(columns)[0], abs=1e-12)


def test_a_singular_covariance_has_an_interval() -> None:
    covariance = MODEL.covariance.copy()
    covariance[2, :] = covariance[:, 2] = 0.0
    flat = LogisticModel(STUDY, MODEL.design, MODEL.intercept, MODEL.coefficients, covariance)
    row = {"age": 50.0, "pm2.5": None, "marker": 1.0, "sex": None, "ward": "b"}
    low, high = flat.interval(columns_from_rows(STUDY, [row]))
    assert RowExplainer(flat).explain(row).interval == pytest.approx((low[0], high[0]), abs=1e-9)
    assert np.isfinite(low[0])
