"""The scorer behind MLflow: what frames it takes, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import DataError, ModelFileError
from fedrisk.models.checks import columns_from_rows
from fedrisk.registry.pyfunc import _load_pyfunc, read_scorer
from fedrisk.study import parse_study


@pytest.fixture(scope="module")
def scorer(result):
    return read_scorer(result.model, result.checks)


rows = st.lists(
    st.fixed_dictionaries(
        {
            "age": st.floats(0, 120),
            "sbp": st.none() | st.floats(-1e6, 1e6),
            "sex": st.sampled_from([None, "female", "male"]),
        }
    ),
    min_size=1,
    max_size=20,
)


@given(rows)
def test_frames_score_as_rows_do(scorer, rows):
    answer = scorer.predict(pd.DataFrame(rows))
    model = scorer.model
    assert (
        answer["risk_score"].tolist() == model.risk(columns_from_rows(model.study, rows)).tolist()
    )


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"age": [50], "sbp": [120], "sex": ["male"]}),
        pd.DataFrame({"age": ["50"], "sbp": ["120.0"], "sex": ["male"]}),
        pd.DataFrame({"age": [50.0], "sbp": [np.float32(120)], "sex": pd.Categorical(["male"])}),
        pd.DataFrame({"age": pd.array([50], "Int64"), "sbp": [120.0], "sex": ["male"], "x": ["?"]}),
    ],
)
def test_any_dtype_that_holds_the_value_will_do(scorer, frame):
    plain = pd.DataFrame({"age": [50.0], "sbp": [120.0], "sex": ["male"]})
    assert scorer.predict(frame).equals(scorer.predict(plain))


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 1],
        [0.0, 1.0, 1.0],
        ["0", "1.0", " 1 "],
        [0, "1", np.float32(1)],
        pd.array([0, 1, 1], "Int64"),
        pd.Categorical(["0", "1", "1"]),
    ],
)
def test_levels_are_those_that_files_take(result, values):
    """The study's levels 0 and 1 in every form in which a file has them."""
    text = json.dumps([result.model, result.checks])
    model, checks = json.loads(text.replace('"female"', '"0"').replace('"male"', '"1"'))
    model["study_hash"] = parse_study(model["study"]).hash
    scorer = read_scorer(model, checks)
    frame = pd.DataFrame({"age": [50.0] * 3, "sbp": [120.0] * 3, "sex": values})
    plain = frame.assign(sex=["0", "1", "1"])
    assert scorer.predict(frame).equals(scorer.predict(plain))
    with pytest.raises(DataError, match="must be one of 0, 1"):
        scorer.predict(frame.assign(sex=[0, 1, 2]))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, "", "NA", " "])
def test_missing_has_many_spellings(scorer, missing):
    absent = scorer.predict(pd.DataFrame({"age": [50.0]}))
    frame = pd.DataFrame({"age": [50.0], "sbp": [missing], "sex": [missing]}, dtype=object)
    assert scorer.predict(frame).equals(absent)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"age": 121.0}, "between 0 and 120 year"),
        ({"age": float("inf")}, "between 0 and 120 year"),
        ({"age": None}, "is missing"),
        ({"age": "old"}, "between 0 and 120 year"),
        ({"sbp": float("inf")}, "must be a number"),
        ({"sbp": "high"}, "must be a number"),
        ({"sbp": -1e308}, r"larger than 1e\+100 in size"),
        ({"sex": "other"}, "must be one of female, male"),
    ],
)
def test_values_that_break_the_study_are_named(scorer, change, rule):
    good = {"age": 50.0, "sbp": 120.0, "sex": "male"}
    with pytest.raises(DataError, match=rule) as caught:
        scorer.predict(pd.DataFrame([good, {**good, **change}]))
    assert [(v.row, v.column) for v in caught.value.violations] == [(2, next(iter(change)))]


def test_an_absent_required_column_is_named(scorer):
    with pytest.raises(DataError, match="'age' column is missing"):
        scorer.predict(pd.DataFrame({"sbp": [1.0]}))


def test_a_long_list_of_violations_is_cut_short(scorer):
    with pytest.raises(DataError, match="100 values") as caught:
        scorer.predict(pd.DataFrame({"age": [500.0] * 100}))
    assert caught.value.message.count("row") == 20
    assert len(caught.value.violations) == 100


def test_bands_are_closed_below(scorer, result):
    model = json.loads(json.dumps(result.model))
    edge = float(scorer.predict(pd.DataFrame({"age": [50.0]}))["risk_score"].iloc[0])
    model["study"]["bands"] = {"medium": edge, "high": 0.99}
    from fedrisk.study import parse_study

    model["study_hash"] = parse_study(model["study"]).hash
    moved = read_scorer(model, result.checks).predict(pd.DataFrame({"age": [50.0, 49.0]}))
    assert moved["risk_level"].tolist() == ["medium", "low"]


def test_no_rows_no_answers(scorer):
    answer = scorer.predict(pd.DataFrame({"age": np.zeros(0)}))
    assert len(answer) == 0
    assert list(answer.columns) == ["risk_score", "risk_level"]


def test_a_model_that_fails_its_test_does_not_load(tmp_path, result):
    (tmp_path / "model.json").write_text(json.dumps(result.model))
    (tmp_path / "checks.json").write_text(json.dumps([{**result.checks[0], "risk": 0.5}]))
    with pytest.raises(ModelFileError, match="self-test"):
        _load_pyfunc(str(tmp_path))
