"""How a site answers what its rows look like: bin counts by windows of time."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from fedrisk.federation.query import Query
from fedrisk.models.bins import Places
from fedrisk.profiles.counting import Rows, count_windows, score_places
from fedrisk.profiles.window_counts import WindowCounts
from fedrisk.sites.cohort import instant
from fedrisk.sites.windows import Cut, TimedRows, count_distinct, cut, latest_weeks, places_in
from fedrisk.study.columns import TimeArray
from fedrisk.study.records import FloatArray

_SECOND = np.timedelta64(1, "s")


def cut_as_asked(rows: TimedRows, query: Query) -> Cut:
    """Cut rows into the windows of a question, whatever anybody's policy says."""
    as_of = datetime.fromisoformat(query.as_of)
    weeks = int(query.options.get("weeks", 0))
    if rows.times is None or not weeks:
        asked = [(datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in query.windows]
        return cut(rows, asked, as_of)
    times = rows.times.copy()
    since, until = (datetime.fromisoformat(t) if t else None for t in (query.since, query.until))
    if since is not None:
        times[times < instant(since)] = np.datetime64("NaT")
    if until is not None:
        times[times >= instant(until)] = np.datetime64("NaT")
    starts, ends = latest_weeks(times, weeks)
    return Cut(starts, ends, places_in(times, starts, ends))


def window_counts(rows: TimedRows, asked: Cut, query: Query) -> WindowCounts:
    """Count the rows of every window.

    Where the question asks about more of the latest weeks than there are rows in, the first
    windows of the answer are empty, and end where they start: in 1970.
    """
    windows = query.dimensions["windows"]
    held = asked.window >= 0
    rows, window = (rows, asked.window) if held.all() else (rows.chosen(held), asked.window[held])
    table = count_windows(query.study, counted(rows, query), window, len(asked))
    about = _about(rows, window, asked)
    short = windows - len(asked)
    pad = ((short, 0), (0, 0))
    return WindowCounts.of_table(query.study, np.pad(about, pad[::-1]), np.pad(table, pad))


def counted(rows: TimedRows, query: Query) -> Rows:
    """Rows as they are counted, with the score bins of the question's model if it has one."""
    return Rows(rows.columns, rows.outside, _places(rows, query), rows.labelled, rows.events)


def _places(rows: TimedRows, query: Query) -> Places:
    places = np.full(len(rows), -1)
    if query.design is None or not query.parameters.size:
        return places
    scorable = rows.scorable
    chosen = rows if scorable.all() else rows.chosen(scorable)
    beta = query.parameters[0]
    places[scorable] = score_places(beta[0] + query.design.transform(chosen.columns) @ beta[1:])
    return places


def _about(rows: TimedRows, window: Places, asked: Cut) -> FloatArray:
    """Start, end, rows, people, days, withheld of every window, ``(6, windows)``."""
    windows = len(asked)
    people = count_distinct(window, rows.persons, windows)
    days = np.minimum(np.bincount(window, minlength=windows), 1)
    if rows.times is not None:
        days = count_distinct(
            window, (rows.times.astype("datetime64[D]")).astype(np.int64), windows
        )
    total = np.bincount(window, minlength=windows)
    start, end = seconds(asked.start), seconds(asked.end)
    return np.array([start, end, total, people, days, np.zeros(windows)], np.float64)


def seconds(times: TimeArray) -> FloatArray:
    """Seconds since 1970."""
    return (times - np.datetime64(0, "us")) / _SECOND
