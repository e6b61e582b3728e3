"""A window's cohort is made of whole stretches, so that windows differ by whole stretches."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.sites.closed_window import in_closed_window
from fedrisk.sites.cohort import Cohort, load_cohort
from fedrisk.sites.stretches import Stretches
from fedrisk.study import parse_study

START, NOW = datetime(2025, 1, 6, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC)
WEEKS = 6
STUDY = parse_study(
    {
        "name": "s",
        "label": "ill",
        "positive": [1],
        "time": "day",
        "treated": "acted",
        "features": [{"name": "place", "kind": "number"}],
    }
)
STRETCHES = Stretches.of(
    [
        tuple(
            int(
                np.datetime64((START + timedelta(weeks=week)).replace(tzinfo=None), "us").astype(
                    int
                )
            )
            for week in (first, last)
        )
        for first, last in ((0, 1), (1, 3), (3, 4))
    ]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rows a day for six weeks, of which four are closed."""
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["place", "day", "acted", "ill"])
        for place in range(4 * 7 * WEEKS):
            day = (START + timedelta(hours=6 * place)).isoformat()
            writer.writerow([place, day, place % 3 == 0, place % 2])
    return path


def window(path: Path, since: str, until: str) -> Cohort:
    ends = {
        name: datetime.fromisoformat(text).replace(tzinfo=UTC)
        for name, text in (("since", since), ("until", until))
        if text
    }
    cohort = load_cohort(STUDY, "s", path, NOW, **ends)
    return in_closed_window(cohort, STRETCHES, since, until)


def weeks(cohort: Cohort) -> list[int]:
    return sorted({int(place) // 28 for place in cohort.columns["place"]})


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("2025-01-06", "2025-01-13", [0]),
        ("2025-01-06", "2025-01-12T23:59:59", []),
        ("2025-01-07", "2025-01-28", [1, 2]),
        ("2025-01-06", "2025-01-21", [0]),
        ("2025-01-13", "2025-02-17", [1, 2, 3]),
        ("", "2025-01-27", [0, 1, 2]),
        ("2025-01-27", "", [3, 4, 5]),
        ("2025-02-05", "", []),
        ("", "", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_whole_stretches_alone(path: Path, since: str, until: str, expected: list[int]) -> None:
    cohort = window(path, since, until)
    assert weeks(cohort) == expected
    assert len(cohort.events) == 28 * len(expected)


@settings(max_examples=60, deadline=None)
@given(
    ends=st.lists(st.integers(0, 24 * 7 * WEEKS), min_size=2, max_size=2, unique=True),
    moved=st.integers(1, 23),
)
def test_windows_that_end_close_together_differ_by_a_stretch_or_nothing(
    path: Path, ends: list[int], moved: int
) -> None:
    first, last = sorted(ends)
    texts = [
        (START + timedelta(hours=hours)).replace(tzinfo=None).isoformat()
        for hours in (first, last, last + moved)
    ]
    one, other = (window(path, texts[0], until) for until in texts[1:])
    apart = len(set(one.columns["place"]) ^ set(other.columns["place"]))
    assert apart % 28 == 0


def test_counts_are_those_of_the_rows_that_are_left(path: Path) -> None:
    cohort = window(path, "2025-01-07", "2025-01-28")
    counts = cohort.counts
    assert counts.rows == counts.usable == counts.train + counts.test == len(cohort.events)
    assert counts.test == cohort.test.sum()
    assert cohort.treated is not None
    assert counts.treated == cohort.treated.sum()
    assert (counts.immature, counts.unlabelled) == (0, 0)
    assert cohort.times is not None
    assert len(cohort.times) == len(cohort.events)
