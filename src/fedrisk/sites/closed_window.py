"""A cohort of a window of time, cut where time is closed: no two windows differ by a few people.

A coordinator chooses windows; sums of three of them, added and subtracted, would leave the rows
between two ends that lie close together. So a site under a policy takes whole stretches alone
(`fedrisk.sites.stretches`): whatever is made of answers is made of these.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np

from fedrisk.sites.cohort import Cohort, instant
from fedrisk.sites.stretches import Stretches
from fedrisk.study.records import BoolArray


def in_closed_window(cohort: Cohort, stretches: Stretches, since: str, until: str) -> Cohort:
    """The rows of the stretches that lie within a window, whole.

    A window without an end goes on beyond the last stretch: to the rows whose stretch is not closed
    yet, all of them. How many rows of a window are immature or lack a
    label is not told.

    Parameters
    ----------
    cohort : Cohort
        Of the window.
    stretches : Stretches
        Of all rows, whatever the window.
    since, until : str
        ISO 8601; empty for an open end. Without either the cohort stays as it is.
    """
    if cohort.times is None or not (since or until):
        return cohort
    first, last = (instant(datetime.fromisoformat(t)) if t else None for t in (since, until))
    inside = np.ones(len(stretches) + 1, bool)
    inside[-1] = False  # rows in none
    if first is not None:
        inside[:-1] &= stretches.start >= first
    if last is not None:
        inside[:-1] &= stretches.end <= last
    held = inside[stretches.places(cohort.times)]
    closed = stretches.end[-1] if len(stretches) else np.datetime64(0, "us")
    if last is None and first is not None and first <= closed:
        held |= cohort.times >= closed
    return _only(cohort, held)


def _only(cohort: Cohort, held: BoolArray) -> Cohort:
    test = cohort.test[held]
    treated = None if cohort.treated is None else cohort.treated[held]
    counts = replace(
        cohort.counts,
        rows=len(test),
        usable=len(test),
        train=int((~test).sum()),
        test=int(test.sum()),
        unlabelled=0,
        immature=0,
        treated=0 if treated is None else int(treated.sum()),
        implausible=dict.fromkeys(cohort.counts.implausible, 0),
    )
    return replace(
        cohort,
        columns={name: values[held] for name, values in cohort.columns.items()},
        events=cohort.events[held],
        test=test,
        counts=counts,
        times=None if cohort.times is None else cohort.times[held],
        persons=None if cohort.persons is None else cohort.persons[held],
        treated=treated,
    )
