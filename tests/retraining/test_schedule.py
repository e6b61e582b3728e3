"""Times by cron expressions: none lost by a pause, none doubled by a restart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import UsageError
from fedrisk.retraining.schedule import Schedule

SIX_HOURS = Schedule("0 */6 * * *")
START = datetime(2026, 1, 1, 7, tzinfo=UTC)


def test_a_service_that_starts_begins_with_nothing() -> None:
    assert not SIX_HOURS.due(None, START)
    assert not SIX_HOURS.due(START, START + timedelta(hours=4, minutes=59))
    assert SIX_HOURS.due(START, START + timedelta(hours=5))


def test_a_long_pause_is_made_up_for_once() -> None:
    late = START + timedelta(days=3)
    assert SIX_HOURS.due(START, late)
    assert not SIX_HOURS.due(late, late)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60))
def test_runs_are_as_many_as_times_passed_while_somebody_looked(steps: list[int]) -> None:
    now, last, runs = START, START, 0
    for minutes in steps:
        before, now = now, now + timedelta(minutes=minutes)
        passed = SIX_HOURS.after(before) <= now
        due = SIX_HOURS.due(last, now)
        assert due == passed
        if due:
            last, runs = now, runs + 1
    assert runs <= (now - START) / timedelta(hours=6) + 1


@pytest.mark.parametrize("text", ["", "often", "* * * *", "61 * * * *", "0 0 30 2 *"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Schedule(text)
