"""The ledger counts across processes, knows cohorts apart, and a damaged one answers nothing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedrisk.errors import SiteFolderError
from fedrisk.sites.cohort_rows import Apart, CohortRows, Side
from fedrisk.sites.ledger import Ledger, Limits

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


def test_refusals_beyond_the_day_s_limit_leave_no_trace(ledger: Ledger) -> None:
    for question in "abcdef":
        ledger.refused("s", "run", question, DAY, most=3)
    with sqlite3.connect(ledger.path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM questions").fetchone() == (3,)


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
    ledger.refused("s", "run", "a", "2025-12-31T00:00:00")
    assert ledger.first_asked("s") == ""  # a refusal, maybe before any approval
    for question, time in (("b", NEXT), ("a", DAY), ("c", NEXT)):
        charge(ledger, question, Limits(), time=time)
    assert ledger.first_asked("s") == DAY
    assert ledger.first_asked("t") == ""


def test_a_run_is_bound_to_its_first_cohort(ledger: Ledger) -> None:
    assert ledger.freeze("r1", "s", "one")
    assert ledger.freeze("r1", "s", "one")
    assert not ledger.freeze("r1", "s", "two")
    assert ledger.freeze("r2", "s", "two")


def rows_of(train: range, test: range = range(0)) -> CohortRows:
    """Rows that are numbers, all of one level, every second one an event."""

    def side(numbers: range) -> Side:
        cells = [(1, number % 2) for number in numbers]
        return Side(np.array(numbers, np.uint64), np.array(cells, np.int16).reshape(-1, 2))

    return CohortRows("sex", side(train), side(test))


def admit(ledger: Ledger, name: str, rows: CohortRows, since: str = "", time: str = DAY) -> bool:
    return ledger.admit("s", name, rows, KEY, since, Apart(10, 8), time)


def test_cohorts_that_differ_by_few_rows_are_kept_apart(ledger: Ledger) -> None:
    assert admit(ledger, "a", rows_of(range(100)))
    assert admit(ledger, "a", rows_of(range(100)))
    assert not ledger.knows("b", "")
    assert not admit(ledger, "b", rows_of(range(101)))
    assert not ledger.knows("b", "")  # and what was refused is not remembered
    assert not admit(ledger, "b", rows_of(range(5, 104)))
    assert admit(ledger, "c", rows_of(range(110)))
    assert ledger.knows("c", "")
    assert not admit(ledger, "d", rows_of(range(109)))  # of every cohort, not of the last alone
    assert admit(ledger, "reordered", rows_of(range(100)))
    assert admit(ledger, "e", rows_of(range(111)), since=NEXT, time=NEXT)  # a second approval
    assert ledger.knows("e", NEXT)
    assert not ledger.knows("a", NEXT)


@pytest.mark.parametrize(
    ("train", "test", "answered"),
    [(101, 9, False), (110, 7, False), (109, 8, False), (110, 8, True), (100, 8, True)],
)
def test_both_sides_of_the_split_must_be_far_apart(
    ledger: Ledger, train: int, test: int, answered: bool
) -> None:
    assert admit(ledger, "a", rows_of(range(100)))
    assert admit(ledger, "b", rows_of(range(train), range(1000, 1000 + test))) == answered


def test_cohorts_of_other_features_are_not_compared(ledger: Ledger) -> None:
    assert admit(ledger, "a", rows_of(range(100)))
    assert admit(ledger, "b", replace(rows_of(range(101)), features="age"))


def test_nothing_of_a_row_stands_in_the_ledger_without_the_key(ledger: Ledger) -> None:
    assert admit(ledger, "a", rows_of(range(100)))
    with sqlite3.connect(ledger.path) as connection:
        (cells,) = connection.execute("SELECT train_cells FROM compared").fetchone()
    with pytest.raises(zlib.error):
        zlib.decompress(cells)


def test_a_cohort_kept_under_another_key_is_as_close_as_can_be(ledger: Ledger) -> None:
    """All digests are others then, and say nothing of how many rows differ."""
    rows = rows_of(range(100))
    assert ledger.admit("s", "a", rows, b"o" * 32, "", Apart(10, 8), DAY)
    assert not admit(ledger, "b", rows_of(range(1000, 2000)))
    assert admit(ledger, "b", rows_of(range(1000, 2000)), since=NEXT, time=NEXT)


def test_a_cohort_of_an_earlier_release_is_as_close_as_can_be(ledger: Ledger) -> None:
    """It was kept with both sides together: what another differs by is unknown."""
    ledger.spent()  # makes the tables
    with sqlite3.connect(ledger.path) as connection:
        digests = np.arange(100, dtype="<u8").tobytes()
        row = ("old", "s", DAY, 100, digests)
        connection.execute("INSERT INTO cohorts VALUES (?, ?, ?, ?, ?)", row)
    assert not admit(ledger, "new", rows_of(range(300)))
    assert admit(ledger, "reordered", rows_of(range(100)))
    assert admit(ledger, "approved", rows_of(range(300)), since=NEXT, time=NEXT)
    assert admit(ledger, "old", rows_of(range(100)))  # asked about again, it is known in full
    assert admit(ledger, "new", rows_of(range(500)))


def test_times_of_runs_are_in_order(ledger: Ledger) -> None:
    assert ledger.in_order("r1", "s", DAY)
    assert ledger.in_order("r2", "s", NEXT)
    assert ledger.in_order("r1", "s", DAY)  # an unfinished run goes on
    assert not ledger.in_order("r1", "s", NEXT)  # and only as it began
    assert not ledger.in_order("r3", "s", DAY)
    assert ledger.in_order("r3", "s", NEXT)
    assert ledger.in_order("r4", "t", DAY)


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\7" * 4000])
def test_a_damaged_ledger_is_an_error_from_every_method(ledger: Ledger, content: bytes) -> None:
    ledger.path.write_bytes(content)
    attempts = [
        lambda: charge(ledger, "a", Limits()),
        lambda: ledger.refused("s", "r", "a", DAY),
        lambda: ledger.related("s", frozenset()),
        lambda: ledger.first_asked("s"),
        lambda: ledger.freeze("r", "s", "c"),
        lambda: ledger.in_order("r", "s", DAY),
        lambda: ledger.knows("c", ""),
        lambda: admit(ledger, "c", rows_of(range(1))),
        ledger.spent,
    ]
    for attempt in attempts:
        with pytest.raises(SiteFolderError, match=r"ledger\.db"):
            attempt()


def test_a_ledger_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SiteFolderError, match="cannot be opened"):
        charge(Ledger(tmp_path / "away" / "ledger.db"), "a", Limits())
