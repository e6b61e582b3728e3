from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import ModelFileError
from fedrisk.models.checks import columns_from_rows, make_checks
from fedrisk.serving.explaining import sigmoid
from fedrisk.serving.scoring import LEVELS, Scorer

from .conftest import ROW, STUDY, fit

MODEL, _ = fit()
SCORER = Scorer(MODEL)

rows = st.fixed_dictionaries(
    {
        "age": st.floats(0, 120),
        "pm2.5": st.none() | st.floats(0, 1e6),
        "marker": st.floats(-1e6, 1e6),
        "sex": st.sampled_from([None, "female", "male"]),
        "ward": st.sampled_from(["a", "b", "c d"]),
    }
)


@given(rows)
def test_one_row_scores_as_the_model_says(row: dict) -> None:
    expected = MODEL.risk(columns_from_rows(STUDY, [row]))[0]
    assert SCORER.risk(row) == pytest.approx(expected, abs=1e-12)


@given(st.lists(rows, min_size=1, max_size=5))
def test_many_rows_score_as_one_at_a_time(batch: list[dict]) -> None:
    risks = SCORER.risks(columns_from_rows(STUDY, batch))
    assert risks.tolist() == pytest.approx([SCORER.risk(row) for row in batch], abs=1e-12)


@given(rows)
def test_contributions_and_intercept_add_up_to_the_logit(row: dict) -> None:
    explanation = SCORER.explain([row])[0]
    assert set(explanation.contributions) == set(STUDY.feature_names)
    logit = explanation.intercept + sum(explanation.contributions.values())
    assert sigmoid(logit) == pytest.approx(SCORER.risk(row), abs=1e-12)


@given(rows)
def test_the_interval_holds_the_score(row: dict) -> None:
    low, high = SCORER.explain([row])[0].interval
    assert 0 <= low <= SCORER.risk(row) + 1e-12
    assert SCORER.risk(row) - 1e-12 <= high <= 1


def test_explanations_keep_the_order_of_rows() -> None:
    other = {**ROW, "age": 20.0}
    first, second = SCORER.explain([ROW, other])
    assert first.contributions == SCORER.explain([ROW])[0].contributions
    assert second.contributions == SCORER.explain([other])[0].contributions
    assert first.interval == pytest.approx(SCORER.explain([ROW])[0].interval)
    assert first.contributions["age"] != second.contributions["age"]


@pytest.mark.parametrize(
    ("risk", "level"),
    [(0, "low"), (0.2999, "low"), (0.3, "medium"), (0.5999, "medium"), (0.6, "high"), (1, "high")],
)
def test_levels_begin_at_their_bands(risk: float, level: str) -> None:
    assert SCORER.level(risk) == level
    assert LEVELS[SCORER.level_codes(np.array([risk]))[0]] == level


def test_implausible_values_are_told_with_the_usual_range() -> None:
    assert SCORER.warnings(ROW) == []
    assert SCORER.warnings({**ROW, "age": 105.0}) == [
        {"field": "age", "value": 105.0, "rule": "is usually between 18 and 100 year"}
    ]
    assert SCORER.warnings({**ROW, "age": 18.0}) == []


def test_the_self_test_notices_another_answer() -> None:
    checks = make_checks(MODEL)
    SCORER.self_test(checks)
    checks[3] = {**checks[3], "risk": checks[3]["risk"] + 1e-6}
    with pytest.raises(ModelFileError, match="row 3"):
        SCORER.self_test(checks)
