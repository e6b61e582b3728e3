"""Cross products of a window's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from fedrisk.models.bins import feature_edges
from fedrisk.profiles.counting import profile_columns
from fedrisk.profiles.moments import BLOCK, few_left_out, moments
from fedrisk.profiles.profile import Profile
from fedrisk.study import CategoryFeature, NumberFeature, Study

STUDY = Study(
    name="s",
    label="y",
    positive=(1,),
    features=(
        NumberFeature(name="age", unit="year", minimum=0, maximum=120, missing="allow"),
        NumberFeature(name="pm25", unit="ug/m3", minimum=0, plausible=(0, 200)),
        NumberFeature(name="gain", unit="1"),
        CategoryFeature(name="sex", kind="category", levels=("f", "m")),
    ),
)


def columns(rows: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, rows)
    age[rng.random(rows) < 0.1] = np.nan
    return {
        "age": age,
        "pm25": rng.gamma(2.0, 15.0, rows),
        "gain": rng.standard_normal(rows) * 50,
        "sex": rng.integers(0, 2, rows).astype(np.int32),
    }


def test_they_are_the_products_over_complete_rows_on_the_bins_scale():
    given = columns(3 * BLOCK + 17)
    complete = ~np.isnan(given["age"])
    table = [np.ones(complete.sum())]
    for feature in STUDY.numbers:
        edges = feature_edges(feature)
        places = np.searchsorted(edges, given[feature.name][complete], side="right")
        middle = np.clip(places, 1, len(edges) - 1) - len(edges) / 2
        table.append(middle / (128 if feature.name != "gain" else 512))
    expected = np.array(table) @ np.array(table).T
    assert expected[0, 0] > 2 * BLOCK
    np.testing.assert_allclose(moments(STUDY, given), expected, rtol=1e-6)


def test_no_row_weighs_more_than_one_at_the_end_of_the_range():
    given = columns(100) | {"pm25": np.full(100, 1e12), "gain": np.full(100, -1e300)}
    found = moments(STUDY, given)
    assert np.abs(found).max() <= found[0, 0]
    assert np.isfinite(found).all()


def test_rows_without_a_number_take_no_part():
    given = columns(50) | {"age": np.full(50, np.nan)}
    assert not moments(STUDY, given).any()


def test_moments_of_few_rows_are_left_out():
    found = moments(STUDY, columns(40))
    assert few_left_out(found, found[0, 0]) is found
    assert not few_left_out(found, found[0, 0] + 1).any()


def test_profiles_add_subtract_and_come_back_with_their_moments():
    whole = columns(200)
    halves = [{name: values[part] for name, values in whole.items()} for part in HALVES]
    one, two = (profile_columns(STUDY, half) for half in halves)
    both = profile_columns(STUDY, whole)
    assert ((one + two).moments == both.moments).all()
    assert ((both - two).moments == one.moments).all()
    again = Profile.from_document(both.document())
    assert (again.moments == both.moments).all()


HALVES = (slice(0, 80), slice(80, None))


def test_a_document_without_moments_has_none_and_a_damaged_one_is_refused():
    from fedrisk.errors import StudyError

    document = profile_columns(STUDY, columns(30)).document()
    bare = {name: part for name, part in document.items() if name != "moments"}
    assert not Profile.from_document(bare).moments.any()
    assert Profile.from_document(bare).moments.shape == (4, 4)
    with pytest.raises(StudyError):
        Profile.from_document(document | {"moments": [[1.0]]})
