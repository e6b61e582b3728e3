"""Windows begin on Mondays wherever they are asked for, and captured counts fall into them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fedrisk.monitoring.calendar import captured_windows, windows_between
from fedrisk.profiles.profile import Profile, Window
from fedrisk.profiles.site_window import SERVING
from fedrisk.study import builtin_study

TIMES = st.integers(0, 350_000).map(lambda n: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(hours=n))


@given(TIMES, st.integers(0, 200), st.integers(1, 30))
def test_windows_are_whole_disjoint_and_as_many_as_there_is_room_for(since, days, length):
    until = since + timedelta(days=days)
    spans = windows_between(since, until, length)
    assert all(end - start == timedelta(days=length) for start, end in spans)
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert all(since <= start and end <= until for start, end in spans)
    assert len(spans) >= days // length - 1
    if length == 7:
        assert all(start.weekday() == 0 for start, _ in spans)


def captured(start, hours, rows, **changes):
    profile = replace(Profile.empty(builtin_study("air-wearables")), rows=rows, **changes)
    return Window("id", "m", "1", "r", start, start + timedelta(hours=hours), profile)


def test_captured_windows_are_put_together_by_weeks():
    first = datetime(2025, 1, 6, tzinfo=UTC)
    spans = windows_between(first, first + timedelta(weeks=2))
    held = [captured(first + timedelta(hours=12 * n), 12, 10.0) for n in range(20)]
    held.append(captured(first - timedelta(days=2), 1, 99.0))
    one, two = captured_windows(held, spans)
    assert (one.site, one.people, one.profile.rows, one.days) == (SERVING, 0.0, 140.0, 7.0)
    assert (two.profile.rows, two.days) == (60.0, 3.0)


def test_what_another_study_counted_is_left_out():
    first = datetime(2025, 1, 6, tzinfo=UTC)
    spans = windows_between(first, first + timedelta(weeks=1))
    mixed = [captured(first, 1, 5.0), captured(first, 1, 5.0, study="f" * 64)]
    assert captured_windows(mixed, spans) == []
