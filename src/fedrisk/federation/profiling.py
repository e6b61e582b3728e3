"""How a site answers what its rows look like: bin counts by windows of time."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from fedrisk.federation.query import Query
from fedrisk.models.bins import Places
from fedrisk.profiles.cells import Cells
from fedrisk.profiles.counting import Rows, count_windows, score_places
from fedrisk.profiles.window_counts import WindowCounts
from fedrisk.sites.closed_rows import ClosedRows
from fedrisk.sites.cohort import instant
from fedrisk.sites.disclosure.window_cells import Crowd, hide_small_cells, rounded_people
from fedrisk.sites.policy import Policy
from fedrisk.sites.stretches import Stretches
from fedrisk.sites.windows import (
    Cut,
    TimedRows,
    count_distinct,
    latest_weeks,
    places_in,
    whole,
)
from fedrisk.study.columns import TimeArray
from fedrisk.study.records import FloatArray

_SECOND = np.timedelta64(1, "s")


def cut_as_asked(rows: TimedRows, query: Query) -> Cut:
    """Cut rows into the windows of a question, whatever anybody's policy says."""
    if rows.times is None:
        return whole(rows, datetime.fromisoformat(query.as_of))
    times, weeks = _within(rows.times, query), int(query.options.get("weeks", 0))
    if query.windows:
        starts, ends = _asked(query)
    elif weeks:
        starts, ends = latest_weeks(times, weeks)
    else:
        ends = np.array([instant(datetime.fromisoformat(query.until or query.as_of))])
        starts = np.sort(np.concatenate([times[~np.isnat(times)], ends]))[:1]
    return Cut(starts, ends, places_in(times, starts, ends))


def _asked(query: Query) -> tuple[TimeArray, TimeArray]:
    """Starts and ends of the windows that are named."""
    pairs = [[instant(datetime.fromisoformat(time)) for time in pair] for pair in query.windows]
    table = np.array(pairs, "datetime64[us]").reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _within(times: TimeArray, query: Query) -> TimeArray:
    """Times in ``[since, until)`` of the question; NaT for others."""
    inside = np.ones(len(times), bool)
    if query.since:
        inside &= times >= instant(datetime.fromisoformat(query.since))
    if query.until:
        inside &= times < instant(datetime.fromisoformat(query.until))
    return np.where(inside, times, np.datetime64("NaT"))


def window_counts(rows: TimedRows, asked: Cut, query: Query) -> WindowCounts:
    """Count the rows of every window."""
    held = asked.window >= 0
    rows, window = (rows, asked.window) if held.all() else (rows.chosen(held), asked.window[held])
    table = count_windows(query.study, counted(rows, query), window, len(asked))
    return _record(query, _about(rows, window, asked), table)


def closed_counts(closed: ClosedRows, policy: Policy, query: Query) -> WindowCounts:
    """Count the stretches that the site has closed, hide small cells, and add up by window.

    A window counts the stretches that end in it. Where it counts none it is withheld: whether there
    is nobody in it or too few is not told.
    """
    asked, window = _asked_of(closed, query)
    rows = closed.rows
    cells = Cells.of(query.study)
    table = np.zeros((len(asked), sum(cells.lengths)))
    about = _about(rows, np.append(window, -1)[closed.place], asked)
    # Every batch of a stretch by itself.
    held, part = np.unique(closed.place * (len(rows) + 1) + closed.batch, return_inverse=True)
    found = counted(rows, query)
    counts = count_windows(query.study, found, part, len(held))
    for number, stretch in enumerate((held // (len(rows) + 1)).tolist()):
        if window[stretch] >= 0:
            own = part == number
            crowd = Crowd(found.chosen(own), rows.persons[own], policy.contributors)
            profile = cells.profile(float(own.sum()), counts[number])
            hidden = hide_small_cells(query.study, profile, crowd, policy)
            table[window[stretch]] += cells.row(hidden)
    _tell_spans(about, closed.stretches, window)
    about[3] = rounded_people(about[3], policy.contributors)
    about[5] = about[2] == 0
    return _record(query, about, table)


def _asked_of(closed: ClosedRows, query: Query) -> tuple[Cut, Places]:
    """The windows of a question, and the one of each stretch."""
    stretches = closed.stretches
    if query.windows:
        starts, ends = _asked(query)
        window = stretches.windows(starts, ends)
    else:
        since, until = (_instant_or(query.since, 0), _instant_or(query.until, 2**62))
        inside = (stretches.start >= since) & (stretches.end <= until)
        if closed.rows.times is not None and "weeks" in query.options:
            chosen = np.flatnonzero(inside)[-int(query.options["weeks"]) :]
            starts, ends = stretches.start[chosen], stretches.end[chosen]
            window = stretches.windows(starts, ends)
        else:
            starts, ends = (
                np.array([since]),
                np.array([instant(datetime.fromisoformat(query.as_of))]),
            )
            window = np.where(inside, 0, -1)
    return Cut(starts, ends, np.zeros(0, np.intp)), window


def _instant_or(text: str, otherwise: int) -> np.datetime64:
    return instant(datetime.fromisoformat(text)) if text else np.datetime64(otherwise, "us")


def _tell_spans(about: FloatArray, stretches: Stretches, window: Places) -> None:
    """Start and end of what every window counts."""
    starts, ends = seconds(stretches.start), seconds(stretches.end)
    for number in np.unique(window[window >= 0]):
        about[0, number] = starts[window == number].min()
        about[1, number] = ends[window == number].max()


def _record(query: Query, about: FloatArray, table: FloatArray) -> WindowCounts:
    """The answer. Where more of the latest weeks are asked about than there are, the first windows
    are empty and lie in 1970.
    """
    short = query.dimensions["windows"] - len(table)
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
    total = np.bincount(window[window >= 0], minlength=windows).astype(np.float64)
    days = np.minimum(total, 1)
    if rows.times is not None:
        days = count_distinct(window, rows.times.astype("datetime64[D]").astype(np.int64), windows)
    people = count_distinct(window, rows.persons, windows)
    start, end = seconds(asked.start), seconds(asked.end)
    return np.array([start, end, total, people, days, np.zeros(windows)])


def seconds(times: TimeArray) -> FloatArray:
    """Seconds since 1970."""
    return (times - np.datetime64(0, "us")) / _SECOND
