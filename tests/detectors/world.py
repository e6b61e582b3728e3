"""A small world with weather, people and seasons, as weekly blocks of some sites."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from fedrisk.profiles.counting import profile_columns
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study import parse_study

STUDY = parse_study(
    {
        "name": "world",
        "label": "ill",
        "positive": [1],
        "features": [
            {"name": "pulse", "kind": "number", "minimum": 30, "maximum": 150},
            {"name": "heat", "kind": "number", "minimum": -40, "maximum": 60},
            {"name": "sex", "kind": "category", "levels": ["f", "m"], "missing": "allow"},
        ],
    }
)
FIRST = datetime(2022, 1, 3, tzinfo=UTC)
#: Standard deviation of the pulse between people and within, of the heat over days.
BETWEEN, WITHIN, DAYS = 7.0, 3.0, 3.0


def site_windows(
    seed: int,
    weeks: int,
    *,
    site: str = "one",
    people: int = 60,
    first: int = 0,
    pulse: float = 0.0,
    days: int = 7,
    seasonal: bool = True,
) -> list[SiteWindow]:
    """Weeks of one site from week ``first`` on, with the pulse moved by so much."""
    who = np.random.default_rng([seed, 1])
    own, male = who.normal(70, BETWEEN, 10_000)[:people], who.random(10_000)[:people] < 0.5
    random = np.random.default_rng([seed, 2])
    day = np.arange((first + weeks) * 7)
    weather = np.zeros(len(day))
    for today in day[1:]:
        weather[today] = 0.7 * weather[today - 1] + random.normal(0, DAYS * np.sqrt(1 - 0.49))
    heat = 12 - 12 * np.cos(2 * np.pi * day / 365.25) * seasonal + weather
    found = []
    for week in range(first, first + weeks):
        shape = (days, people)
        columns = {
            "pulse": (own + pulse + random.normal(0, WITHIN, shape)).ravel(),
            "heat": np.repeat(heat[week * 7 : week * 7 + days], people),
            "sex": np.broadcast_to(male, shape).ravel().astype(np.int32),
        }
        start = FIRST + timedelta(weeks=week)
        profile = profile_columns(STUDY, columns)
        end = start + timedelta(days=days)
        found.append(SiteWindow(site, start, end, profile, float(people), float(days)))
    return found


def reference(seed: int, weeks: int = 52, sites: int = 1, **changes) -> Reference:
    blocks = [
        block
        for number in range(sites)
        for block in site_windows(seed + 1000 * number, weeks, site=f"site-{number}", **changes)
    ]
    return Reference(STUDY.hash, tuple(blocks))
