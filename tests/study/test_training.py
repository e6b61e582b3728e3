from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from fedrisk.study import parse_study
from fedrisk.study.training import RoundRecord, TrainingRequest, TrainingResult

STUDY = parse_study(
    {"name": "s", "label": "y", "positive": [1], "features": [{"name": "x", "kind": "number"}]}
)


def request(**changes):
    return TrainingRequest(run_id="r1", study=STUDY, as_of="2024-03-01T00:00:00Z", **changes)


def test_a_request_crosses_process_borders_as_json():
    given = request(sites=("a", "b"), options={"learning_rate": 0.1}, rounds=7)
    again = TrainingRequest.model_validate_json(given.model_dump_json())
    assert again == given
    assert again.study.hash == STUDY.hash


def test_a_result_crosses_process_borders_as_json():
    result = TrainingResult(
        request=request(),
        model={"format": 1},
        reference={},
        checks=[{"row": {"x": None}, "risk": 0.1}],
        rounds=(RoundRecord(number=1, kind="newton", seconds=0.5, per_site={"a": {"rows": 3.0}}),),
        seconds=1.5,
        rows={"a": {"train": 3}},
        metrics={"auroc": None, "brier": 0.1},
        per_site={"a": {"auroc": None}},
    )
    assert TrainingResult.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize(
    "changes",
    [{"rounds": 0}, {"speed": "high"}, *({"deadline": d} for d in (0, 86_401, math.inf, math.nan))],
)
def test_a_request_that_makes_no_sense_is_refused(changes):
    with pytest.raises(ValidationError):
        request(**changes)


@pytest.mark.parametrize(
    "name", ["..", "../..", "a/b", "", "a'b", 'a"b', "a b", "a\n", "-a", "a" * 65]
)
def test_a_run_s_name_that_is_no_name_of_a_folder_is_refused(name):
    document = request().model_dump() | {"run_id": name}
    with pytest.raises(ValidationError, match="run_id"):
        TrainingRequest.model_validate(document)


@pytest.mark.parametrize("name", ["r1", "20260101T120000-ab12cd", "a.b_c", "a" * 64])
def test_a_run_s_name_that_is_a_folder_s_is_taken(name):
    assert TrainingRequest.model_validate(request().model_dump() | {"run_id": name}).run_id == name
