"""A site's rows in closed stretches of time: all that its policy lets windows count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from fedrisk.models.bins import Places
from fedrisk.sites.cohort import instant
from fedrisk.sites.policy import Policy
from fedrisk.sites.stretch_ledger import StretchLedger
from fedrisk.sites.stretches import Stretches, close
from fedrisk.sites.told_rows import told_labels, told_rows
from fedrisk.sites.windows import TimedRows, count_distinct
from fedrisk.study.records import BoolArray


@dataclass(frozen=True)
class ClosedRows:
    """Rows that windows may count.

    Attributes
    ----------
    rows : TimedRows
        Their labels where all of the stretch's are mature and may be told; else none.
    stretches : Stretches
    place, batch : (rows,) array of int
        Each row's stretch, and with which version of it the row was told first: what came later is
        counted apart, and its small cells are hidden apart.
    """

    rows: TimedRows
    stretches: Stretches
    place: Places
    batch: Places


def close_rows(
    rows: TimedRows, policy: Policy, kept: StretchLedger | None, as_of: datetime, now: datetime
) -> ClosedRows:
    """Close time as far as there are people, and choose the rows that may be told.

    Parameters
    ----------
    rows : TimedRows
    policy : Policy
    kept : StretchLedger, optional
        Without one nothing is known of what was told before, and nothing kept.
    as_of : datetime
        A stretch's labels are told once all of them are mature then.
    now : datetime
        The site's own clock.

    Raises
    ------
    SiteFolderError
        When the ledger cannot be used.
    """
    stretches = closed_stretches(rows, policy, kept, now)
    place = np.zeros(len(rows), np.intp) if rows.times is None else stretches.places(rows.times)
    batch, labelled = np.full(len(rows), -1), np.zeros(len(rows), bool)
    mature = stretches.end <= instant(as_of) - np.timedelta64(rows.study.maturity, "us")
    for number, (start, _) in enumerate(stretches.pairs):
        own = np.flatnonzero(place == number)
        ripe = rows.times is None or bool(mature[number])
        batch[own], labelled[own] = _told(rows.chosen(own), start, ripe, policy, kept)
    chosen = batch >= 0
    told = replace(rows, labelled=labelled, events=rows.events & labelled).chosen(chosen)
    return ClosedRows(told, stretches, place[chosen], batch[chosen])


def closed_stretches(
    rows: TimedRows, policy: Policy, kept: StretchLedger | None, now: datetime
) -> Stretches:
    """Time closed as far as there are people, by now; kept in the ledger, where there is one.

    Raises
    ------
    SiteFolderError
        When the ledger cannot be used.
    """
    if rows.times is None:
        return Stretches.of([(0, int(instant(now).astype(np.int64)))])
    clock, moment = str(rows.study.time), instant(now)
    known = Stretches.of([]) if kept is None else kept.known(clock)
    days, people = policy.window_days, policy.window_people
    closed = close(rows.times, rows.persons, known, days, people, moment)
    return closed if kept is None else kept.keep(clock, closed)


def _told(
    rows: TimedRows, start: int, mature: bool, policy: Policy, kept: StretchLedger | None
) -> tuple[Places, BoolArray]:
    """With which version each row of a stretch is told, -1 for none; and which with its label."""
    nothing, untold, least = (
        np.zeros(len(rows), bool),
        np.full(len(rows), -1),
        max(policy.window_people, 1),
    )
    if count_distinct(np.zeros(len(rows), np.intp), rows.persons, 1)[0] < least:
        return untold, nothing
    labelled = rows.labelled if mature else nothing
    if kept is None:
        return np.zeros(len(rows), np.intp), labelled
    about = "\n".join([*sorted(rows.columns), str(rows.study.time)])
    digests = told_rows(rows, kept.key)
    batch = kept.settle((about, start, "rows"), digests, least)
    if batch is None:
        return untold, nothing
    labelled = labelled & (batch >= 0)
    if not labelled.any():
        return batch, labelled
    with_label = told_labels(rows.events[labelled], digests.only(labelled), kept.key)
    shown = kept.settle((about, start, "labels"), with_label, least)
    told = nothing.copy()
    if shown is not None:
        told[np.flatnonzero(labelled)[shown >= 0]] = True
    return batch, told
