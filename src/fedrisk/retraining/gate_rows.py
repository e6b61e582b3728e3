"""Which rows a gate may judge on: later than every fit, matured, and not spent by an earlier gate.

Of these the sites take the test side of the split, so of people that no model was fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fedrisk.study import Study


@dataclass(frozen=True)
class Span:
    """A span of time, ``[since, until)``, with time zones."""

    since: datetime
    until: datetime


@dataclass(frozen=True)
class GateRows:
    """What a gate may ask for.

    Attributes
    ----------
    span : Span or None
        Times of the rows; None where no row is left.
    reason : str
        Why these, or why none.
    """

    span: Span | None
    reason: str


def gate_rows(
    study: Study, fitted_until: Sequence[datetime], as_of: datetime, spent: Sequence[Span] = ()
) -> GateRows:
    """Find the rows that a gate may judge on.

    Parameters
    ----------
    study : Study
        With a time column: without one no row is known to be later than a fit.
    fitted_until : sequence of datetime
        For each model that is compared, the time that its training rows end at.
    as_of : datetime
        Now; rows younger than the study's horizon and reporting lag are not mature.
    spent : sequence of Span
        Rows that earlier gates judged on and came to a verdict: pass or refuse. A gate that found
        too little evidence spent error rate (`fedrisk.retraining.margins.Spending`), not rows.

    >>> from datetime import UTC
    >>> from fedrisk.study import builtin_study
    >>> when = [datetime(2024, month, 1, tzinfo=UTC) for month in (1, 3, 6)]
    >>> gate_rows(builtin_study("air-wearables"), when[:2], when[2]).span.since.month
    3
    """
    if study.time is None:
        return GateRows(None, "the study names no time: no row is known to be later than the fits")
    last_fit = max(fitted_until)
    last_spent = max((span.until for span in spent), default=last_fit)
    since, until = max(last_fit, last_spent), as_of - study.maturity
    why = "the models' fits end" if last_fit >= last_spent else "an earlier gate's rows end"
    if since >= until:
        return GateRows(
            None,
            f"rows are mature until {until:%Y-%m-%d %H:%M}, and {why} at {since:%Y-%m-%d %H:%M}: "
            "nothing lies between",
        )
    return GateRows(
        Span(since, until),
        f"test people's rows from {since:%Y-%m-%d %H:%M}, where {why}, to {until:%Y-%m-%d %H:%M}, "
        "where labels are no longer mature",
    )
