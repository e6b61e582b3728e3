"""What `GET /trial` answers: how a challenger does beside the champion, as figures to judge by.

Whoever decides on promotion or return reads the answer with :func:`read_report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from math import inf
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fedrisk.errors import UsageError


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, from a histogram's buckets.

    Attributes
    ----------
    mean : float
    p50, p90, p99 : float
        Quantiles, linear within a bucket; of what lies beyond the last bound, that bound.
    """

    mean: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Answered:
    """Requests that one model answered.

    Attributes
    ----------
    version : str
    requests : int
    rows : int
    errors : int
        Requests that it could not answer though nothing was wrong with them.
    seconds : Timing or None
        Of one request, from its body to its answer; None while there is none.
    """

    version: str
    requests: int
    rows: int
    errors: int
    seconds: Timing | None


@dataclass(frozen=True, slots=True)
class Shadowed:
    """What the challenger did in the shadow.

    Attributes
    ----------
    rows : int
    errors : int
        Rows that it could not score.
    dropped : int
        Rows that did not fit the queue.
    seconds : Timing or None
        Of one row, of scoring alone: not comparable with those of a request.
    """

    rows: int
    errors: int
    dropped: int
    seconds: Timing | None


@dataclass(frozen=True, slots=True)
class LevelChange:
    """Rows that the champion puts on one level and the challenger on another."""

    champion: str
    challenger: str
    rows: int


@dataclass(frozen=True, slots=True)
class Compared:
    """Rows that both models scored.

    Attributes
    ----------
    rows : int
    mean : float or None
        Mean difference of risk, without its sign; None while there is none.
    above : dict of float to float
        Share of the rows whose difference is more than so much; empty while there is none.
    level_changes : tuple of LevelChange
    """

    rows: int
    mean: float | None
    above: dict[float, float]
    level_changes: tuple[LevelChange, ...]


@dataclass(frozen=True, slots=True)
class TrialReport:
    """Figures of one champion and one challenger, of all workers of a server since it started.

    Attributes
    ----------
    name : str
        Of the registered model.
    since : datetime
        When a worker of this server first served the two together.
    share : float
        Part of the requests that the challenger answers.
    shadow : bool
    champion, challenger : Answered
    shadowed : Shadowed
    compared : Compared
    """

    name: str
    since: datetime
    share: float
    shadow: bool
    champion: Answered
    challenger: Answered
    shadowed: Shadowed
    compared: Compared

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        document: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return document


def read_report(document: Mapping[str, Any] | bytes) -> TrialReport:
    """The report in an answer of ``GET /trial``.

    Raises
    ------
    UsageError
        When it is none.
    """
    try:
        if isinstance(document, bytes):
            return _adapter().validate_json(document)
        return _adapter().validate_python(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"this is no trial's report: {place}: {first['msg']}") from None


@cache
def _adapter() -> TypeAdapter[TrialReport]:
    return TypeAdapter(TrialReport)


def quantile(cumulative: Mapping[float, float], share: float) -> float:
    """A quantile from a histogram's cumulative counts by their upper bounds, the last infinite.

    >>> quantile({1.0: 5, 2.0: 10, inf: 10}, 0.75)
    1.5
    """
    bounds = sorted(cumulative)
    wanted = share * cumulative[bounds[-1]]
    low = before = 0.0
    for bound in bounds:
        count = cumulative[bound]
        if count >= wanted and count > before:
            return (
                low if bound == inf else low + (bound - low) * (wanted - before) / (count - before)
            )
        low, before = bound, count
    return low


def timing(cumulative: Mapping[float, float], total: float) -> Timing | None:
    """Mean and quantiles of a histogram; None of an empty one."""
    count = cumulative.get(inf, 0.0)
    if not count:
        return None
    return Timing(total / count, *(quantile(cumulative, share) for share in (0.5, 0.9, 0.99)))
