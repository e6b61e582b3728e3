"""Meteorological seasons: winter is December to February, and so on, as in climate records."""

from __future__ import annotations

from datetime import date
from typing import Literal, get_args

Season = Literal["DJF", "MAM", "JJA", "SON"]
#: In the order of the year, beginning with December.
SEASONS: tuple[Season, ...] = get_args(Season)


def season_of(day: date) -> Season:
    """The season of a day, named by its months; the same in both hemispheres.

    >>> season_of(date(2025, 12, 1)), season_of(date(2026, 3, 1))
    ('DJF', 'MAM')
    """
    return SEASONS[day.month % 12 // 3]
