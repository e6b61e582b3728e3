"""The ledger counts across processes, knows cohorts apart, and a damaged one answers nothing."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import SiteFolderError
from fedrisk.sites.cohort import Cohort, CohortCounts
from fedrisk.sites.ledger import Ledger, Limits, fingerprint, row_digests, rows_apart
from fedrisk.study import Study

DAY, NEXT = "2026-01-01T09:00:00", "2026-01-02T00:00:00"
KEY = b"k" * 32


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


def charge(
    ledger: Ledger,
    question: str,
    limits: Limits,
    *,
    cost: float = 1,
    study: str = "s",
    kind: str = "newton",
    time: str = DAY,
) -> str:
    return ledger.charge(study, "run", kind, question, cost, time, limits)


def test_the_limit_is_reached_and_never_passed(ledger: Ledger) -> None:
    limits = Limits(all=10)
    assert not charge(ledger, "a", limits, cost=8)
    assert "more than 10 parameter vectors" in charge(ledger, "b", limits, cost=3)
    assert not charge(ledger, "c", limits, cost=2)  # what was refused has cost nothing
    assert charge(ledger, "d", limits)


def test_the_same_question_again_that_day_costs_nothing(ledger: Ledger) -> None:
    limits = Limits(all=1)
    for _ in range(3):
        assert not charge(ledger, "a", limits)
    assert charge(ledger, "b", limits)
    assert not charge(ledger, "b", limits, time=NEXT)  # a new day
    assert charge(ledger, "a", limits, time=NEXT)  # and an old question costs again


def test_all_studies_share_one_limit(ledger: Ledger) -> None:
    assert not charge(ledger, "a", Limits(all=1), study="s")
    assert charge(ledger, "b", Limits(all=1), study="t")


def test_evaluations_have_a_limit_of_their_own(ledger: Ledger) -> None:
    limits = Limits(evaluations=1)
    assert not charge(ledger, "a", limits, kind="evaluation")
    assert "more than 1 evaluations" in charge(ledger, "b", limits, kind="evaluation")
    assert not charge(ledger, "c", limits)


def test_refusals_end_the_day(ledger: Ledger) -> None:
    limits = Limits(refusals=2)
    for question in ("a", "a", "b"):
        assert not charge(ledger, question, limits)
        ledger.refused("s", "run", question, DAY)
    assert "2 questions were refused" in charge(ledger, "c", limits)
    assert not charge(ledger, "c", limits, time=NEXT)
    assert ledger.spent()[-1] == {
        "study": "s", "day": "2026-01-01", "cost": 2.0, "questions": 2, "runs": 1
    }  # fmt: skip


_CHARGER = """
import sys
from pathlib import Path
from fedrisk.sites.ledger import Ledger, Limits
ledger, name = Ledger(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
given = [ledger.charge("s", "r", "newton", name, 1, f"20{year}-01-01", Limits(all=1))
         for year in range(20, 80)]
print(given.count(""))
"""


def test_processes_together_never_pass_the_limit(ledger: Ledger) -> None:
    """Three real processes race for the one vector of each of sixty days."""
    command = [sys.executable, "-c", _CHARGER, str(ledger.path)]
    running = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in "abc"
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answered = [int(process.communicate(timeout=60)[0]) for process in running]
    assert sum(answered) == 60
    assert [day["cost"] for day in ledger.spent()] == [1] * 60


def test_a_related_study_is_one_that_reads_a_column_of_an_earlier_one(ledger: Ledger) -> None:
    assert ledger.related("a", frozenset({"age", "died"})) == ""
    assert ledger.related("b", frozenset({"bmi", "stroke"})) == ""
    assert ledger.related("c", frozenset({"bmi", "age"})) == "a"
    assert ledger.related("a", frozenset({"age", "died"})) == ""  # the first stays the first
    assert ledger.related("b", frozenset({"bmi", "stroke"})) == ""
    assert ledger.related("c", frozenset({"bmi", "age"})) == "a"


def test_when_a_study_was_first_asked_about(ledger: Ledger) -> None:
    assert ledger.first_asked("s") == ""
    for question, time in (("b", NEXT), ("a", DAY), ("c", NEXT)):
        charge(ledger, question, Limits(), time=time)
    assert ledger.first_asked("s") == DAY
    assert ledger.first_asked("t") == ""


def test_a_run_is_bound_to_its_first_cohort(ledger: Ledger) -> None:
    assert ledger.freeze("r1", "s", "one")
    assert ledger.freeze("r1", "s", "one")
    assert not ledger.freeze("r1", "s", "two")
    assert ledger.freeze("r2", "s", "two")


def test_cohorts_that_differ_by_few_rows_are_kept_apart(ledger: Ledger) -> None:
    def admit(name: str, rows: range, since: str = "", time: str = DAY) -> bool:
        return ledger.admit("s", name, np.array(rows, np.uint64), since, 10, time)

    assert admit("a", range(100))
    assert admit("a", range(100))
    assert not ledger.knows("b", "")
    assert not admit("b", range(101))
    assert not ledger.knows("b", "")  # and what was refused is not remembered
    assert not admit("b", range(5, 104))
    assert admit("c", range(110))
    assert ledger.knows("c", "")
    assert not admit("d", range(109))  # of every cohort, not of the last alone
    assert admit("reordered", range(100))
    assert admit("e", range(111), since=NEXT, time=NEXT)  # since a second approval
    assert ledger.knows("e", NEXT)
    assert not ledger.knows("a", NEXT)


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\7" * 4000])
def test_a_damaged_ledger_is_an_error_from_every_method(ledger: Ledger, content: bytes) -> None:
    ledger.path.write_bytes(content)
    attempts = [
        lambda: charge(ledger, "a", Limits()),
        lambda: ledger.refused("s", "r", "a", DAY),
        lambda: ledger.related("s", frozenset()),
        lambda: ledger.first_asked("s"),
        lambda: ledger.freeze("r", "s", "c"),
        lambda: ledger.knows("c", ""),
        lambda: ledger.admit("s", "c", np.zeros(1, np.uint64), "", 10, DAY),
        ledger.spent,
    ]
    for attempt in attempts:
        with pytest.raises(SiteFolderError, match=r"ledger\.db"):
            attempt()


def test_a_ledger_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SiteFolderError, match="cannot be opened"):
        charge(Ledger(tmp_path / "away" / "ledger.db"), "a", Limits())


# -- digests --------------------------------------------------------------------------------

small = st.lists(st.integers(0, 5), max_size=12)


@given(small, small)
def test_rows_apart_counts_rows_of_either_that_the_other_lacks(
    one: list[int], other: list[int]
) -> None:
    a, b = Counter(one), Counter(other)
    expected = sum(((a - b) + (b - a)).values())
    assert rows_apart(np.array(one, np.uint64), np.array(other, np.uint64)) == expected


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


def test_one_changed_value_is_one_row_less_and_one_more(study: Study) -> None:
    before = make_cohort(study, [1.0, 2.0, 3.0, 2.0])
    ages = make_cohort(study, [1.0, 2.0, 3.5, 2.0])
    events = make_cohort(study, [1.0, 2.0, 3.0, 2.0], [False, False, True, False])
    side = replace(before, test=np.array([True, False, False, False]))
    for after in (ages, events, side):
        assert rows_apart(row_digests(before, KEY), row_digests(after, KEY)) == 2
        assert fingerprint(before, KEY) != fingerprint(after, KEY)


def test_digests_know_values_and_not_how_they_are_held(study: Study) -> None:
    one, other = make_cohort(study, [0.0, 1.0]), make_cohort(study, [-0.0, 1.0])
    other.columns["pulse"][:] = np.array([0x7FF8000000000001] * 2, np.uint64).view(np.float64)
    assert np.array_equal(row_digests(one, KEY), row_digests(other, KEY))
    assert fingerprint(one, KEY) == fingerprint(other, KEY)


def test_rows_digests_do_not_depend_on_their_order_and_the_fingerprint_does(study: Study) -> None:
    one = make_cohort(study, [5.0, 6.0])
    other = replace(
        one, columns={n: v[::-1].copy() for n, v in one.columns.items()}, events=one.events
    )
    assert np.array_equal(row_digests(one, KEY), row_digests(other, KEY))
    assert fingerprint(one, KEY) != fingerprint(other, KEY)


def test_without_the_key_digests_say_nothing(study: Study) -> None:
    cohort = make_cohort(study, [5.0, 6.0])
    assert not set(row_digests(cohort, KEY)) & set(row_digests(cohort, b"o" * 32))
    assert fingerprint(cohort, KEY) != fingerprint(cohort, b"o" * 32)
