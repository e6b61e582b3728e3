"""One row at a time counts as many rows in arrays do, and profiles add up."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import StudyError
from fedrisk.models.bins import feature_edges
from fedrisk.models.checks import columns_from_rows
from fedrisk.profiles import Profile
from fedrisk.profiles.counting import TOGETHER, RowCounter, profile_columns
from fedrisk.profiles.profile import score_edges
from fedrisk.study import CategoryFeature, NumberFeature, Study

STUDY = Study(
    name="clinic",
    label="event",
    positive=(1,),
    features=(
        NumberFeature(name="age", unit="year", minimum=0, maximum=120, plausible=(18, 100)),
        NumberFeature(name="marker", missing="allow"),
        CategoryFeature(name="sex", kind="category", levels=("female", "male"), missing="allow"),
    ),
)
ROWS = st.lists(
    st.tuples(
        st.fixed_dictionaries(
            {
                "age": st.floats(0, 120),
                "marker": st.none() | st.floats(-1e9, 1e9),
                "sex": st.sampled_from(["female", "male", None]),
            }
        ),
        st.floats(0, 1),
    ),
    max_size=30,
)


def counted(rows: list) -> Profile:
    counter = RowCounter(STUDY)
    for row, risk in rows:
        counter.add(row, risk)
    return counter.take()


def same(one: Profile, other: Profile) -> bool:
    return one.document() == other.document()


@given(ROWS.filter(bool))
def test_one_at_a_time_counts_as_arrays_do(rows: list) -> None:
    columns = columns_from_rows(STUDY, [row for row, _ in rows])
    risks = np.array([risk for _, risk in rows])
    one, many = counted(rows), profile_columns(STUDY, columns, risks)
    assert same(one, many)
    assert one.scores.sum() == one.rows == len(rows)


def test_rows_wait_for_each_other_and_none_is_lost() -> None:
    counter = RowCounter(STUDY)
    for number in range(2 * TOGETHER + 7):
        counter.add({"age": 50.0, "marker": None, "sex": "male"}, 0.5)
        assert counter.rows == number + 1
    first = counter.profile()
    counter.add({"age": 50.0, "marker": 1.0, "sex": None}, 0.5)
    assert (first.rows, counter.take().rows, counter.take().rows) == (519.0, 520.0, 0.0)


@given(ROWS, ROWS)
def test_profiles_add_up(first: list, second: list) -> None:
    assert same(counted(first) + counted(second), counted(first + second))


@given(ROWS)
def test_every_row_is_counted_once_for_every_feature(rows: list) -> None:
    profile = counted(rows)
    for feature in STUDY.features:
        cells = profile.numbers.get(feature.name, profile.categories.get(feature.name))
        assert cells.sum() + profile.missing[feature.name] == len(rows)


@given(st.floats(0, 1))
def test_a_score_falls_between_its_bins_edges(risk: float) -> None:
    counter = RowCounter(STUDY)
    counter.add({"age": 50.0, "marker": None, "sex": None}, risk)
    place = int(np.argmax(counter.take().scores))
    inside = np.clip(risk, 1e-15, 1 - 1e-15)
    logit, edges = np.log(inside / (1 - inside)), score_edges()
    assert place == 0 or edges[place - 1] <= logit + 1e-9
    assert place == len(edges) or logit < edges[place] + 1e-9


def test_a_document_comes_back_and_a_wrong_one_does_not() -> None:
    profile = counted([({"age": 50.0, "marker": 1.0, "sex": "male"}, 0.2)])
    text = json.dumps(profile.document())
    assert same(Profile.from_document(json.loads(text)), profile)
    with pytest.raises(StudyError, match="not a profile"):
        Profile.from_document({"rows": 1})


def test_profiles_of_other_studies_do_not_add_up() -> None:
    other = Study(name="other", label="y", positive=(1,), features=STUDY.features)
    with pytest.raises(StudyError, match="do not add up"):
        Profile.empty(STUDY) + Profile.empty(other)


def test_an_empty_profile_has_the_reference_bins() -> None:
    empty = Profile.empty(STUDY)
    assert len(empty.numbers["age"]) == len(feature_edges(STUDY.numbers[0])) + 1
    assert same(empty, counted([]))
