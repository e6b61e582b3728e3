"""Cohorts are told apart by the rows that only one of them has, and by the groups among these."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.sites.cohort import Cohort, CohortCounts
from fedrisk.sites.cohort_rows import (
    Apart,
    Side,
    cohort_rows,
    fingerprint,
    row_digests,
    seal,
    unseal,
)
from fedrisk.study import Study

KEY = b"k" * 32
small = st.lists(st.integers(0, 5), max_size=12)


def side(numbers: list[int]) -> Side:
    held = np.sort(np.array(numbers, np.uint64))
    return Side(held, np.stack([held, held % 2], axis=1).astype(np.int16))


@given(small, small)
def test_differing_are_the_rows_of_either_that_the_other_lacks(
    one: list[int], other: list[int]
) -> None:
    a, b = Counter(one), Counter(other)
    found = side(one).differing(side(other))
    assert sorted(found[:, 0].tolist()) == sorted(((a - b) + (b - a)).elements())


def make_cohort(study: Study, ages: list[float], events: list[bool] | None = None) -> Cohort:
    count = len(ages)
    columns = {
        "age": np.array(ages, np.float64),
        "pulse": np.full(count, np.nan),
        "sex": np.arange(count, dtype=np.int32) % 3 - 1,
    }
    counts = CohortCounts(count, count, count, 0, 0, 0, 0, {})
    told = np.zeros(count, bool) if events is None else np.array(events)
    return Cohort("s", study, columns, told, np.zeros(count, bool), counts)


def apart(one: Cohort, other: Cohort) -> tuple[int, int]:
    """In how many training and test rows two cohorts differ."""
    a, b = cohort_rows(one, KEY), cohort_rows(other, KEY)
    return len(a.train.differing(b.train)), len(a.test.differing(b.test))


def test_one_changed_value_is_one_row_less_and_one_more(study: Study) -> None:
    before = make_cohort(study, [1.0, 2.0, 3.0, 2.0])
    ages = make_cohort(study, [1.0, 2.0, 3.5, 2.0])
    events = make_cohort(study, [1.0, 2.0, 3.0, 2.0], [False, False, True, False])
    moved = replace(before, test=np.array([True, False, False, False]))
    assert apart(before, ages) == apart(before, events) == (2, 0)
    assert apart(before, moved) == (1, 1)
    for after in (ages, events, moved):
        assert fingerprint(before, KEY) != fingerprint(after, KEY)


def test_digests_know_values_and_not_how_they_are_held(study: Study) -> None:
    one, other = make_cohort(study, [0.0, 1.0]), make_cohort(study, [-0.0, 1.0])
    other.columns["pulse"][:] = np.array([0x7FF8000000000001] * 2, np.uint64).view(np.float64)
    assert np.array_equal(row_digests(one, KEY), row_digests(other, KEY))
    assert fingerprint(one, KEY) == fingerprint(other, KEY)


def test_rows_do_not_depend_on_their_order_and_the_fingerprint_does(study: Study) -> None:
    one = make_cohort(study, [5.0, 6.0])
    other = replace(
        one, columns={n: v[::-1].copy() for n, v in one.columns.items()}, events=one.events
    )
    assert apart(one, other) == (0, 0)
    assert np.array_equal(cohort_rows(one, KEY).digests, cohort_rows(other, KEY).digests)
    assert fingerprint(one, KEY) != fingerprint(other, KEY)


def test_without_the_key_digests_say_nothing(study: Study) -> None:
    cohort = make_cohort(study, [5.0, 6.0])
    assert not set(row_digests(cohort, KEY)) & set(row_digests(cohort, b"o" * 32))
    assert fingerprint(cohort, KEY) != fingerprint(cohort, b"o" * 32)


def test_cells_are_levels_missing_values_and_outcomes(study: Study) -> None:
    cohort = make_cohort(study, [1.0, np.nan, 3.0], [False, False, True])
    rows = cohort_rows(cohort, KEY)
    assert rows.features == "age\npulse\nsex"
    found = sorted(map(tuple, rows.train.cells.tolist()))
    assert found == [(0, 0, 1, 0), (1, 0, 0, 0), (1, 0, 2, 1)]


@pytest.mark.parametrize("rows", [0, 3])
def test_sealed_cells_are_read_with_their_key_and_place_alone(rows: int) -> None:
    cells = np.arange(rows * 4, dtype=np.int16).reshape(rows, 4)
    sealed = seal(cells, KEY, "a train")
    back = unseal(sealed, KEY, "a train", 4)
    assert back is not None
    assert np.array_equal(back, cells)
    assert unseal(sealed, b"o" * 32, "a train", 4) is None
    assert unseal(sealed, KEY, "a test", 4) is None


def grown(
    study: Study, *, men: int, ill: int, lacking: int, test: bool = False
) -> tuple[Cohort, ...]:
    """A cohort, and the same with sixty rows more: so many men, ill, without a pulse."""
    more, count = 60, 160
    new = np.arange(count) >= count - more
    place = np.arange(count) - (count - more)
    columns = {
        "age": np.arange(count, dtype=np.float64),
        "pulse": np.where(new & (place >= more - lacking), np.nan, 70.0),
        "sex": (new & (place < men)).astype(np.int32),
    }
    counts = CohortCounts(count, count, count, 0, 0, 0, 0, {})
    whole = Cohort("s", study, columns, new & (place < ill), new & test, counts)
    old = {name: values[~new] for name, values in columns.items()}
    return replace(whole, columns=old, events=whole.events[~new], test=whole.test[~new]), whole


@pytest.mark.parametrize(
    ("men", "ill", "lacking", "close"),
    [
        (20, 20, 20, False),
        (0, 20, 0, False),
        (60, 20, 0, False),
        (1, 20, 20, True),
        (59, 20, 20, True),
        (20, 9, 20, True),
        (20, 51, 20, True),
        (20, 20, 9, True),
        (42, 20, 20, True),  # two men without a pulse
        (45, 20, 20, False),
    ],
)
def test_nobody_among_the_differing_is_in_a_small_group(
    study: Study, men: int, ill: int, lacking: int, close: bool
) -> None:
    before, after = (
        cohort_rows(cohort, KEY) for cohort in grown(study, men=men, ill=ill, lacking=lacking)
    )
    assert after.too_close(before, Apart(50, 50, 10, 5)) == close
    assert before.too_close(after, Apart(50, 50, 10, 5)) == close
    assert not after.too_close(before, Apart(50, 50))
    assert after.too_close(before, Apart(61, 50))


@pytest.mark.parametrize(("ill", "close"), [(1, True), (20, False), (0, False)])
def test_of_test_rows_outcomes_count(study: Study, ill: int, close: bool) -> None:
    before, after = (
        cohort_rows(cohort, KEY) for cohort in grown(study, men=1, ill=ill, lacking=1, test=True)
    )
    assert after.too_close(before, Apart(50, 50, 10, 5)) == close
