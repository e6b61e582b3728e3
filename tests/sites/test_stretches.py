"""Stretches: whole steps, enough people, and never closed otherwise again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.sites.ledger import Ledger
from fedrisk.sites.stretch_ledger import StretchLedger
from fedrisk.sites.stretches import Stretches, close
from fedrisk.sites.told_rows import Told, batches, settle

NONE = Stretches.of([])
LATER = np.datetime64("2030-01-01", "us")
DAYS = st.lists(st.tuples(st.integers(0, 70), st.integers(0, 12)), min_size=1, max_size=120)


def days(numbers: list[int]) -> np.ndarray:
    return np.datetime64("2025-01-06", "us") + np.array(numbers) * np.timedelta64(1, "D")


def closed(rows: list[tuple[int, int]], before: Stretches = NONE, step: int = 7, least: int = 5):
    times, persons = days([day for day, _ in rows]), np.array([person for _, person in rows])
    return close(times, persons, before, step, least, LATER)


@given(DAYS, DAYS, st.sampled_from([1, 7]), st.sampled_from([1, 7]))
def test_stretches_are_disjoint_hold_enough_people_and_stay(
    rows: list[tuple[int, int]], more: list[tuple[int, int]], step: int, then: int
) -> None:
    first = closed(rows, step=step)
    second = closed([*rows, *more], first, then)
    assert set(first.pairs) <= set(second.pairs)
    assert (second.end[:-1] <= second.start[1:]).all()
    assert (second.start < second.end).all()
    every = [*rows, *more]
    for start, end in second.pairs:
        times = days([day for day, _ in every]).astype(np.int64)
        held = {
            person for time, (_, person) in zip(times, every, strict=True) if start <= time < end
        }
        assert len(held) >= 5


def test_a_step_that_is_not_over_is_not_closed() -> None:
    times, persons = days(list(range(14)) * 6), np.repeat(np.arange(6), 14)
    before = close(times, persons, NONE, 7, 5, np.datetime64("2025-01-19T23:59", "us"))
    then = close(times, persons, before, 7, 5, np.datetime64("2025-01-20", "us"))
    assert (len(before), len(then)) == (1, 2)


def test_no_stretch_reaches_across_another() -> None:
    few = [(0, 1), (0, 2), (14, 3), (14, 4), (14, 5)]
    before = closed([(7, person) for person in range(5)])
    assert closed(few, before).pairs == before.pairs
    assert len(closed(few)) == 1


def test_rows_without_a_time_close_nothing() -> None:
    times = np.full(9, np.datetime64("NaT", "us"))
    assert len(close(times, np.arange(9), NONE, 7, 5, LATER)) == 0


def told(rows: dict[int, int]) -> Told:
    """Rows by number, and whose they are."""
    return Told(np.array(list(rows), np.uint64), np.array(list(rows.values()), np.uint64))


def test_the_first_version_is_told_as_it_is() -> None:
    assert settle(told({1: 1, 2: 2}), [], 5).tolist() == [True, True]


def test_a_few_rows_more_wait_and_many_are_told() -> None:
    before = [told({n: n for n in range(10)})]
    few = told({n: n for n in (3, 99, *range(10))})
    assert (
        settle(few, before, 5).tolist()
        == [n != 99 for n in (3, 99, *range(10))][: len(few.digests)]
    )
    assert settle(told({n: n for n in range(15)}), before, 5).all()
    one_person = told({n: min(n, 10) for n in range(30)})
    assert settle(one_person, before, 5).sum() == 10  # twenty rows, but one person's


def test_a_row_that_went_withholds_until_many_did() -> None:
    before = [told({n: n for n in range(10)})]
    assert settle(told({n: n for n in range(9)}), before, 5) is None
    assert settle(told({n: n for n in range(5)}), before, 5).all()


def test_a_new_version_is_held_against_every_earlier_one() -> None:
    versions = [told({n: n for n in range(10)}), told({n: n for n in range(20)})]
    assert settle(told({n: n for n in range(9)}), versions, 5) is None
    assert settle(told({n: n for n in range(10)}), versions, 5).all()


def test_the_ledger_keeps_what_was_closed_and_told(tmp_path: Path) -> None:
    ledger = StretchLedger(Ledger(tmp_path / "ledger.db"), b"key")
    kept = ledger.keep("day", Stretches.of([(0, 10), (10, 20)]))
    again = ledger.keep("day", Stretches.of([(5, 15), (20, 30)]))
    assert kept.pairs == [(0, 10), (10, 20)]
    assert again.pairs == ledger.known("day").pairs == [(0, 10), (10, 20), (20, 30)]
    assert len(ledger.known("night")) == 0
    rows = told({n: n for n in range(10)})
    assert ledger.settle(("age", 0, "rows"), rows, 5).tolist() == [0] * 10
    assert ledger.settle(("age", 0, "rows"), told({n: n for n in range(9)}), 5) is None
    assert ledger.settle(("age", 10, "rows"), told({n: n for n in range(9)}), 5) is not None
    assert ledger.settle(("age", 0, "labels"), told({n: n for n in range(9)}), 5) is not None
    more = told({n: n for n in range(20)})
    for _ in range(2):  # when it is asked again, too
        assert ledger.settle(("age", 0, "rows"), more, 5).tolist() == [0] * 10 + [1] * 10
    few = told({n: n for n in range(22)})
    assert ledger.settle(("age", 0, "rows"), few, 5).tolist() == [0] * 10 + [1] * 10 + [-1] * 2


def test_rows_that_changed_are_one_batch_with_the_others() -> None:
    before = [told({n: n for n in range(10)}), told({n: n for n in range(5, 25)})]
    now = told({n: n for n in range(5, 25)})
    assert batches(now, np.ones(20, bool), before).tolist() == [0] * 20
