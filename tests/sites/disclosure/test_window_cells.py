"""Small cells of a stretch: none is left, and nothing is lost but where it stood."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.profiles.cells import Cells
from fedrisk.profiles.counting import Rows, count_windows
from fedrisk.profiles.profile import Profile
from fedrisk.sites.disclosure.window_cells import hide_small_cells, least_rows, rounded_people
from fedrisk.sites.policy import OPEN, Policy
from fedrisk.study import CategoryFeature, NumberFeature, Study

STUDY = Study(
    name="s",
    label="y",
    positive=(1,),
    features=(
        NumberFeature(name="age", minimum=0, maximum=120, missing="allow"),
        CategoryFeature(name="sex", kind="category", levels=("f", "m"), missing="allow"),
    ),
)
LEAST = 8


def make_profile(seed: int, rows: int, rare: float, labels: float) -> Profile:
    random = np.random.default_rng(seed)
    age = random.uniform(0, 120, rows)
    beyond = random.random(rows) < rare
    age[beyond | (random.random(rows) < rare)] = np.nan
    sex = random.choice([-1, 0, 1], rows, p=[rare, 1 - 2 * rare, rare]).astype(np.int32)
    places = np.where(random.random(rows) < rare, -1, random.integers(90, 110, rows))
    given_ = Rows(
        {"age": age, "sex": sex},
        {"age": beyond},
        places,
        random.random(rows) < labels,
        random.random(rows) < 0.2,
    )
    table = count_windows(STUDY, given_, np.zeros(rows, np.intp), 1)
    return Cells.of(STUDY).profile(float(rows), table[0])


@given(
    st.integers(0, 2**32),
    st.integers(LEAST, 400),
    st.floats(0, 0.3),
    st.sampled_from([1, 0.97, 0.4]),
)
def test_every_cell_has_enough_rows_and_features_keep_their_rows(
    seed: int, rows: int, rare: float, labels: float
) -> None:
    before = make_profile(seed, rows, rare, labels)
    after = hide_small_cells(before, LEAST, Policy())
    for name in ("age", "sex"):
        held = after.numbers[name] if name == "age" else after.categories[name]
        cells = np.array([*held, after.missing[name], after.outside[name]])
        assert cells.sum() == rows
        assert cells[cells > 0].min() >= LEAST
    for cells in (after.scores, after.labelled):
        assert cells[cells > 0].min(initial=LEAST) >= LEAST
    assert not 0 < rows - after.scores.sum() < LEAST or after.scores.sum() == 0
    assert not 0 < after.scores.sum() - after.labelled.sum() < LEAST
    told = after.labelled > 0
    for outcome in (after.events[told], (after.labelled - after.events)[told]):
        assert outcome[outcome > 0].min(initial=5) >= 5
    assert after.labelled.sum() <= before.labelled.sum()


def test_nothing_is_changed_where_nothing_is_small() -> None:
    before = make_profile(0, 4000, 0.2, 0.5)
    after = hide_small_cells(before, 5, Policy(pair_contributors=0))
    for part in ("scores", "labelled", "events"):
        assert np.array_equal(getattr(after, part), getattr(before, part))
    assert after.missing == before.missing
    assert np.array_equal(after.moments, before.moments)
    assert hide_small_cells(before, 1, OPEN) is before


@pytest.mark.parametrize("few", [1, 9])
def test_products_of_few_complete_rows_or_of_all_but_few_are_left_out(few: int) -> None:
    age = np.linspace(10, 90, 200)
    for absent in (few, 200 - few):
        values = np.where(np.arange(200) < absent, np.nan, age)
        rows = Rows(
            {"age": values, "sex": np.zeros(200, np.int32)},
            {},
            np.full(200, -1),
            np.zeros(200, bool),
            np.zeros(200, bool),
        )
        table = count_windows(STUDY, rows, np.zeros(200, np.intp), 1)
        before = Cells.of(STUDY).profile(200.0, table[0])
        assert before.moments[0, 0] == 200 - absent
        assert not hide_small_cells(before, 10, Policy()).moments.any()


@pytest.mark.parametrize(("rows", "told"), [(27, False), (28, True)])
def test_products_are_fewer_than_a_third_of_their_rows(rows: int, told: bool) -> None:
    policy = Policy(parameters_per_row=3 / 28)  # of one number there are three
    profile = make_profile(0, rows, 0.0, 1.0)
    assert hide_small_cells(profile, 2, policy).moments.any() == told


@given(st.lists(st.integers(0, 30), min_size=1, max_size=300), st.integers(2, 12))
def test_so_many_rows_are_of_enough_people(persons: list[int], contributors: int) -> None:
    least = least_rows(np.array(persons), contributors)
    counts = np.sort(np.unique(persons, return_counts=True)[1])[::-1]
    assert counts[: contributors - 1].sum() < least  # fewer people never have so many


def test_one_person_more_does_not_show() -> None:
    assert rounded_people(np.array([20.0, 29.0, 30.0]), 10).tolist() == [20, 20, 30]
    assert rounded_people(np.array([29.0]), 0).tolist() == [29]
