from __future__ import annotations

import pytest
from pydantic import ValidationError

from fedrisk.study import parse_study
from fedrisk.study.questions import (
    ComparisonRequest,
    ComparisonResult,
    ProfileRequest,
    ProfileResult,
    parse_request,
)
from fedrisk.study.training import TrainingRequest

DOCUMENT = {
    "name": "s",
    "label": "y",
    "positive": [1],
    "features": [{"name": "x", "kind": "number"}],
}
TIMELESS = parse_study(DOCUMENT)
STUDY = parse_study(DOCUMENT | {"time": "day", "treated": "acted"})
AS_OF = "2025-03-01T00:00:00Z"
WEEKS = (("2025-01-06", "2025-01-13"), ("2025-01-13", "2025-01-20"))


def profile(**changes):
    fields = {"run_id": "r1", "study": STUDY, "as_of": AS_OF, "windows": WEEKS}
    return ProfileRequest.model_validate(fields | changes)


def comparison(**changes):
    fields = {"run_id": "r1", "study": STUDY, "as_of": AS_OF, "models": {"champion": {"format": 1}}}
    return ComparisonRequest.model_validate(fields | changes)


@pytest.mark.parametrize(
    "asked",
    [
        profile(model={"format": 1}, sites=("a", "b")),
        comparison(since="2025-01-01", untreated=True),
        TrainingRequest(run_id="r1", study=STUDY, as_of=AS_OF, until="2025-02-01"),
    ],
)
def test_a_request_of_any_kind_is_read_back_as_what_it_is(asked):
    again = parse_request(asked.model_dump_json())
    assert type(again) is type(asked)
    assert again == asked


def test_a_request_that_names_no_task_is_a_training_run():
    text = TrainingRequest(run_id="r1", study=STUDY, as_of=AS_OF).model_dump_json(exclude={"task"})
    assert isinstance(parse_request(text), TrainingRequest)


@pytest.mark.parametrize("text", ["{}", "[]", '{"task": "sabotage"}', "not json"])
def test_what_is_no_request_is_refused(text):
    with pytest.raises(ValidationError):
        parse_request(text)


def test_times_are_kept_in_one_form():
    asked = profile(windows=[["2025-01-06T01:00:00+01:00", "2025-01-13"]])
    assert asked.windows == (("2025-01-06T00:00:00+00:00", "2025-01-13T00:00:00+00:00"),)


@pytest.mark.parametrize(
    ("windows", "reason"),
    [
        ((("2025-01-13", "2025-01-06"),), "empty"),
        ((("2025-01-06", "2025-01-06"),), "empty"),
        ((("2025-01-06", "2025-01-14"), ("2025-01-13", "2025-01-20")), "overlap"),
        (tuple(reversed(WEEKS)), "not in order"),
        ((("soon", "later"),), "isoformat"),
    ],
)
def test_windows_are_disjoint_and_in_order(windows, reason):
    with pytest.raises(ValidationError, match=reason):
        profile(windows=windows)


@pytest.mark.parametrize(
    "asked",
    [
        lambda: profile(study=TIMELESS),
        lambda: comparison(study=TIMELESS, until="2025-01-01"),
        lambda: TrainingRequest(run_id="r1", study=TIMELESS, as_of=AS_OF, since="2025-01-01"),
    ],
)
def test_rows_without_time_have_no_window(asked):
    with pytest.raises(ValidationError, match="names no `time`"):
        asked()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"since": "2025-02-01", "until": "2025-01-01"}, "empty"),
        ({"models": {}}, "at least 1"),
        ({"models": {str(n): {} for n in range(9)}}, "at most 8"),
        ({"study": TIMELESS, "untreated": True}, "names no `treated`"),
        ({"sites": ("a",), "quorum": 2}, "quorum"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(changes, reason):
    with pytest.raises(ValidationError, match=reason):
        comparison(**changes)


def test_results_cross_process_borders_as_json():
    told = {"refused": {"a": "site 'a' did not answer"}, "seconds": 1.5}
    for result in (
        ProfileResult(request=profile(), windows=[{"site": "b"}], **told),
        ComparisonResult(request=comparison(), comparison={"rows": 3.0}, **told),
    ):
        assert type(result).model_validate_json(result.model_dump_json()) == result


def test_by_default_whoever_answers_is_enough():
    assert profile().quorum == comparison().quorum == 1
    assert TrainingRequest(run_id="r1", study=STUDY, as_of=AS_OF).quorum is None
