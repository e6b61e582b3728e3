"""Which windows are looked at: whole ones, that begin on a Monday, and where captured ones fall."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from fedrisk.errors import StudyError
from fedrisk.profiles.profile import Window
from fedrisk.profiles.reference import merge
from fedrisk.profiles.site_window import SERVING, SiteWindow

#: A Monday, from which windows are counted, so that sites, servers and runs agree on them.
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)

Span = tuple[datetime, datetime]


def windows_between(since: datetime, until: datetime, days: int = 7) -> list[Span]:
    """Whole windows within two times, oldest first.

    Parameters
    ----------
    since, until : datetime
        With a time zone.
    days : int
        Length of a window, at least 1.

    >>> since, until = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 21, tzinfo=UTC)
    >>> [f"{start:%m-%d}" for start, _ in windows_between(since, until)]
    ['01-06', '01-13']
    """
    length = timedelta(days=days)
    first = -((MONDAY - since) // length)
    last = (until - MONDAY) // length
    return [(MONDAY + n * length, MONDAY + (n + 1) * length) for n in range(first, last)]


def captured_windows(captured: Sequence[Window], spans: Sequence[Span]) -> list[SiteWindow]:
    """What a server captured, put together to windows of the site `SERVING`.

    A captured window belongs where its middle lies; one that was counted by another study is left
    out. The days of a window are those on which something was captured.

    Parameters
    ----------
    captured : sequence of Window
    spans : sequence of (start, end)
        Disjoint.
    """
    held: dict[Span, list[Window]] = defaultdict(list)
    for window in captured:
        middle = window.start + (window.end - window.start) / 2
        for span in spans:
            if span[0] <= middle < span[1]:
                held[span].append(window)
    found = []
    for start, end in sorted(held):
        inside = held[start, end]
        try:
            profile = merge(window.profile for window in inside)
        except StudyError:
            continue
        days = {window.start.date() for window in inside if window.profile.rows}
        found.append(SiteWindow(SERVING, start, end, profile, 0.0, float(len(days))))
    return found
