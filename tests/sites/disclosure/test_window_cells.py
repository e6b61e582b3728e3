"""Small cells of a stretch: none is left, and nothing is lost but where it stood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedrisk.profiles.cells import Cells
from fedrisk.profiles.counting import Rows, count_windows
from fedrisk.profiles.profile import Profile
from fedrisk.sites.disclosure.window_cells import Crowd, groups_of, hide_small_cells, rounded_people
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


def counted(rows: Rows) -> Profile:
    number = len(rows.places)
    table = count_windows(STUDY, rows, np.zeros(number, np.intp), 1)
    return Cells.of(STUDY).profile(float(number), table[0])


def make_crowd(seed: int, rows: int, rare: float, labels: float, each: int = 1) -> Crowd:
    """Rows of people who have several each, with something rare in every respect."""
    random = np.random.default_rng(seed)
    age = random.uniform(0, 120, rows)
    beyond = random.random(rows) < rare
    age[beyond | (random.random(rows) < rare)] = np.nan
    sex = random.choice([-1, 0, 1], rows, p=[rare, 1 - 2 * rare, rare]).astype(np.int32)
    places = np.where(random.random(rows) < rare, -1, random.integers(90, 110, rows))
    found = Rows(
        {"age": age, "sex": sex},
        {"age": beyond},
        places,
        random.random(rows) < labels,
        random.random(rows) < 0.2,
    )
    return Crowd(found, np.arange(rows) // each, LEAST)


def hidden(crowd: Crowd, policy: Policy | None = None) -> Profile:
    return hide_small_cells(STUDY, counted(crowd.rows), crowd, policy or Policy())


@given(
    st.integers(0, 2**32),
    st.integers(LEAST, 400),
    st.floats(0, 0.3),
    st.sampled_from([1, 0.97, 0.4]),
    st.sampled_from([1, 3]),
)
@example(68, 32, 0.0625, 0.97, 3)
def test_every_cell_has_enough_rows_and_features_keep_their_rows(
    seed: int, rows: int, rare: float, labels: float, each: int
) -> None:
    crowd = make_crowd(seed, rows * each, rare, labels, each)
    before, after = counted(crowd.rows), hidden(crowd)
    for name in ("age", "sex"):
        held = after.numbers[name] if name == "age" else after.categories[name]
        cells = np.array([*held, after.missing[name], after.outside[name]])
        assert cells.sum() == rows * each
        assert cells[cells > 0].min() >= LEAST
    for cells in (after.scores, after.labelled):
        assert cells[cells > 0].min(initial=LEAST) >= LEAST
    if after.scores.any():
        scored = crowd.rows.places >= 0
        without = scored & ~crowd.rows.labelled
        if crowd.few(~scored):
            # They count as scored, so whoever subtracts gets both together.
            without |= ~scored
        assert (
            not crowd.few(without)
            or not after.labelled.any()
            or (after.labelled.sum() <= before.labelled.sum() - LEAST)
        )
    told = after.labelled > 0
    for outcome in (after.events[told], (after.labelled - after.events)[told]):
        assert outcome[outcome > 0].min(initial=5) >= 5


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 15)), max_size=200))
def test_groups_tile_the_bins_and_are_of_enough_people(rows: list[tuple[int, int]]) -> None:
    places = np.array([place for place, _ in rows], np.intp)
    persons = np.array([person for _, person in rows], np.int64)
    none = np.zeros(len(rows), bool)
    crowd = Crowd(Rows({}, {}, places, none, none), persons, LEAST)
    groups = groups_of(places, 20, crowd)
    assert bool(groups) == (len(set(persons)) >= LEAST)
    if groups:
        assert [g.first for g in groups] == [0, *(g.last for g in groups[:-1])]
        assert groups[-1].last == 20
    for group in groups:
        inside = (places >= group.first) & (places < group.last)
        assert crowd.people(inside) >= LEAST
        assert group.first <= group.place < group.last
        alone = crowd.people(places == group.place)
        assert alone >= LEAST or group.place == group.first + (group.last - group.first - 1) // 2


def test_one_person_s_rows_are_one_person() -> None:
    crowd = make_crowd(3, 300, 0.0, 1.0)
    crowd.rows.columns["age"][:40] = 119.5
    one = replace(crowd, persons=np.where(np.arange(300) < 40, 0, crowd.persons))
    assert hidden(crowd).numbers["age"][255] >= 40
    assert hidden(one).numbers["age"][255] == 0  # they stand in the middle of a group of others


def test_nothing_is_changed_where_nothing_is_small() -> None:
    crowd = replace(make_crowd(0, 4000, 0.2, 0.5), least=5)
    before, after = counted(crowd.rows), hidden(crowd, Policy(pair_contributors=0))
    for part in ("scores", "labelled", "events"):
        assert np.array_equal(getattr(after, part), getattr(before, part))
    assert after.missing == before.missing
    assert np.array_equal(after.moments, before.moments)
    assert hide_small_cells(STUDY, before, replace(crowd, least=1), OPEN) is before


@pytest.mark.parametrize("few", [1, 7])
def test_products_of_few_complete_rows_or_of_all_but_few_are_left_out(few: int) -> None:
    crowd = make_crowd(0, 200, 0.0, 1.0)
    for absent, told in ((few, False), (200 - few, False), (100, True)):
        age = np.where(np.arange(200) < absent, np.nan, np.linspace(10, 90, 200))
        rows = replace(crowd.rows, columns={**crowd.rows.columns, "age": age})
        assert counted(rows).moments[0, 0] == 200 - absent
        assert hidden(replace(crowd, rows=rows)).moments.any() == told
    often = np.where(np.arange(200) < 100, crowd.persons, 999)  # one person's hundred rows
    assert not hidden(Crowd(rows, often, LEAST)).moments.any()


@pytest.mark.parametrize(("rows", "told"), [(27, False), (28, True)])
def test_products_are_fewer_than_a_third_of_their_rows(rows: int, told: bool) -> None:
    policy = Policy(parameters_per_row=3 / 28)  # of one number there are three
    assert hidden(make_crowd(0, rows, 0.0, 1.0), policy).moments.any() == told


def test_one_person_more_does_not_show() -> None:
    assert rounded_people(np.array([20.0, 29.0, 30.0]), 10).tolist() == [20, 20, 30]
    assert rounded_people(np.array([29.0]), 0).tolist() == [29]
