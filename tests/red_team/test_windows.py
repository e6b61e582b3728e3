"""Windows of time whose difference is a few people; and what a stretch of time tells by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from red_team.conftest import Row, Site, make_site, vector

from fedrisk.federation.plausibility import Known, check_reply
from fedrisk.federation.query import Query
from fedrisk.models.bins import feature_edges
from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.summary import summarise
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.profiles.window_counts import WindowCounts, site_windows
from fedrisk.study import Study, parse_study

MONDAY = datetime(2025, 1, 6, tzinfo=UTC)
AS_OF = "2025-06-01T00:00:00+00:00"
WEEK, DAY = timedelta(weeks=1), timedelta(days=1)
STUDY = parse_study(
    {
        "name": "watch",
        "label": "died",
        "positive": [1],
        "id": "who",
        "time": "day",
        "horizon": "14d",
        "features": [
            {"name": "pulse", "kind": "number", "minimum": 30, "maximum": 220},
            {"name": "sex", "kind": "category", "levels": ["f", "m"], "missing": "allow"},
        ],
    }
)
#: The person that the attacks are after.
TARGET: Row = {"who": "target", "pulse": 211.0, "sex": "m", "died": 1}


def people(week: int, count: int = 60, days: int = 7) -> list[Row]:
    random = np.random.default_rng(week)
    return [
        {
            "who": f"p{person}",
            "day": (MONDAY + week * WEEK + day * DAY + timedelta(hours=5)).isoformat(),
            "pulse": round(float(np.clip(random.normal(70, 9), 45, 100)), 1),
            "sex": "fm"[person % 2],
            "died": int(random.random() < 0.3),
        }
        for person in range(count)
        for day in range(days)
    ]


def target(week: int, day: int = 0) -> Row:
    return TARGET | {"day": (MONDAY + week * WEEK + day * DAY).isoformat()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = make_site(tmp_path / "site", "watch", Path("rows.csv"))
    made.approves(STUDY)
    return made.has([*people(0), *people(1), *people(2)])


def between(*ends: datetime) -> tuple[tuple[str, str], ...]:
    return ((ends[0].isoformat(), ends[1].isoformat()),)


def profile(site: Site, query: Query) -> list[SiteWindow]:
    reply = site.ask(query)
    counts = reply.record(WindowCounts, query.dimensions)
    check_reply(replace(reply, rows=int(counts.rows.sum())), query, Known())
    return site_windows(STUDY, site.name, counts)


def ask(site: Site, *windows: tuple[datetime, datetime], run: str = "r", as_of: str = AS_OF):
    pairs = tuple((start.isoformat(), end.isoformat()) for start, end in windows)
    return profile(site, Query("profile", STUDY, run, as_of, windows=pairs))


def week(number: int, weeks: int = 1) -> tuple[datetime, datetime]:
    return MONDAY + number * WEEK, MONDAY + (number + weeks) * WEEK


def cells(windows: Sequence[SiteWindow]) -> list[object]:
    return [(w.start, w.end, w.people, w.withheld, w.profile.document()) for w in windows]


def scored(study: Study, windows: Sequence[tuple[datetime, datetime]], **slopes: float) -> Query:
    random = np.random.default_rng(0)
    columns = {"pulse": random.normal(70, 9, 99), "sex": random.integers(-1, 2, 99).astype("i4")}
    design = design_from_summary(study, summarise(study, columns, random.random(99) < 0.5))
    pairs = tuple((start.isoformat(), end.isoformat()) for start, end in windows)
    at = np.array([vector(design, 0.0, **slopes)])
    return Query("profile", study, "r", AS_OF, design, at, windows=pairs)


def test_a_window_that_is_a_day_longer_tells_nothing_more(site: Site) -> None:
    site.has([*people(0), *people(1), target(2)])
    (short,) = ask(site, week(0, 2))
    (longer,) = ask(site, (MONDAY, MONDAY + 2 * WEEK + DAY))
    (shorter,) = ask(site, (MONDAY, MONDAY + 2 * WEEK - DAY))
    assert short.profile.rows == 840
    assert cells([short]) == cells([longer])
    assert shorter.profile.rows == 420  # the week that is not over then is not counted in part
    assert ask(site, (MONDAY + DAY, MONDAY + 3 * DAY))[0].withheld


def test_an_open_grid_would_give_the_target_away(site: Site) -> None:
    """The attack itself, at a site whose policy switches the rule off."""
    site.without("window_people", "contributors", "pair_contributors")
    site.set(site.policy.model_copy(update={"window_days": 1}))
    site.has([*people(0), *people(1), target(2)])
    (short,), (longer,) = ask(site, week(0, 2)), ask(site, (MONDAY, MONDAY + 2 * WEEK + DAY))
    left = longer.profile - short.profile
    assert (left.rows, left.categories["sex"].tolist()) == (1, [0, 1])
    assert np.flatnonzero(left.numbers["pulse"]).size == 1


def test_a_week_of_few_waits_for_the_next(site: Site) -> None:
    site.has([*people(0), *people(1, count=5), *people(2)])
    first, second, third = ask(site, week(0), week(1), week(2))
    assert (first.profile.rows, second.withheld, third.profile.rows) == (420, True, 455)
    assert third.start == MONDAY + WEEK  # it says what it counts
    both = ask(site, week(1, 2))
    assert cells(both) == cells([third])


def test_nobody_and_too_few_look_the_same(site: Site) -> None:
    site.has([*people(0), target(3)])
    few, nobody = ask(site, week(3), week(4))
    assert few.withheld
    assert nobody.withheld
    assert few.profile.document() == nobody.profile.document()


def test_a_row_that_comes_late_is_not_told(site: Site) -> None:
    before = cells(ask(site, week(0), week(1)))
    site.has([*people(0), target(0), *people(1), *people(2)])
    assert cells(ask(site, week(0), week(1), run="r2")) == before
    site.has([*people(0), people(0)[5], *people(1), *people(2)])  # a row that is there twice
    assert cells(ask(site, week(0), week(1), run="r4")) == before
    moved = [*people(0), *people(1), *people(2)]
    site.has(moved[::-1])  # another order of the same rows is no change
    assert cells(ask(site, week(0), week(1), run="r3")) == before


def test_without_the_ledger_a_late_row_would_show(site: Site) -> None:
    (before,) = ask(site, week(0))
    (site.folder / "ledger.db").unlink()
    site.has([*people(0), target(0), *people(1), *people(2)])
    (after,) = ask(site, week(0), run="r2")
    assert after.profile.rows - before.profile.rows == 1


def test_many_late_people_are_told_together(site: Site) -> None:
    ask(site, week(0))
    late = [row | {"who": f"late{row['who']}"} for row in people(0, count=30)]
    site.has([*people(0), *late, *people(1)])
    (after,) = ask(site, week(0), run="r2")
    assert after.profile.rows == 630


def test_what_came_late_is_told_in_cells_of_its_own(site: Site) -> None:
    """One of thirty late people stands out; the difference of two answers does not show it."""
    (before,) = ask(site, week(0))
    late = [row | {"who": f"late{row['who']}"} for row in people(0, count=30, days=1)]
    late[3] |= {"pulse": TARGET["pulse"], "sex": ""}
    site.has([*people(0), *late, *people(1)])
    (after,) = ask(site, week(0), run="r2")
    left = after.profile - before.profile
    assert left.rows == 30
    for cells_ in (left.numbers["pulse"], left.categories["sex"]):
        assert cells_.sum() == 30
        assert cells_[cells_ != 0].min() >= 10


def test_a_row_that_is_taken_out_keeps_its_week_back(site: Site) -> None:
    site.has([*people(0), target(0), *people(1)])
    (before,) = ask(site, week(0))
    site.has([*people(0), *people(1)])
    (after, other) = ask(site, week(0), week(1), run="r2")
    assert before.profile.rows == 421
    assert after.withheld
    assert other.profile.rows == 420


def test_labels_are_told_once_all_of_a_week_s_are_mature(site: Site) -> None:
    query = scored(STUDY, [week(0)], pulse=0.5)
    ripe = MONDAY + WEEK + timedelta(days=14)
    early = replace(query, as_of=(ripe - DAY).isoformat())
    (first,) = profile(site, early)
    (then,) = profile(site, replace(query, run_id="r2", as_of=ripe.isoformat()))
    assert first.profile.labelled.sum() == 0
    assert then.profile.labelled.sum() == 420
    assert first.profile.rows == then.profile.rows


def test_a_label_that_comes_late_is_not_told(site: Site) -> None:
    query = scored(STUDY, [week(0)], pulse=0.5)
    late = people(0)
    unknown = [row | {"died": ""} if n < 140 else row for n, row in enumerate(late)]
    site.has([*unknown, *people(1)])
    (before,) = profile(site, query)
    site.has([*late[:1], *unknown[1:], *people(1)])
    (after,) = profile(site, replace(query, run_id="r2"))
    assert 0 < before.profile.labelled.sum() <= 280
    assert cells([after]) == cells([before])


def test_no_count_of_a_stretch_is_of_few_people(site: Site) -> None:
    rows = [*people(0), *people(1)]
    for place, change in ((3, {"sex": ""}), (50, {"pulse": 300}), (90, {"pulse": 201.5})):
        rows[place] = rows[place] | change
    site.has(rows)
    (window,) = profile(site, scored(STUDY, [week(0)], pulse=0.5, sex__m=0.3))
    counts = window.profile
    for name in ("pulse", "sex"):
        assert counts.missing[name] == counts.outside[name] == 0
    for cell in (counts.numbers["pulse"], counts.categories["sex"], counts.scores, counts.labelled):
        assert cell[cell > 0].min() >= 10
    assert counts.numbers["pulse"].sum() == counts.categories["sex"].sum() == counts.rows == 420
    others = (counts.labelled - counts.events)[counts.labelled > 0]
    assert min(others.min(), counts.events[counts.labelled > 0].min()) >= 5


def test_one_person_more_or_less_does_not_show(site: Site) -> None:
    site.has([*people(0, count=63), *people(1, count=69)])
    assert [window.people for window in ask(site, week(0), week(1))] == [60, 60]


def test_one_person_s_many_rows_are_no_crowd(site: Site) -> None:
    often = [target(0, day % 7) | {"pulse": 211 + day / 100} for day in range(300)]
    site.has([*people(0), *often])
    (window,) = ask(site, week(0))
    held = window.profile.numbers["pulse"]
    (last,) = np.flatnonzero(held)[-1:]
    own = np.searchsorted(feature_edges(STUDY.numbers[0]), 211.0, side="right")
    assert last < own  # the three hundred rows stand where nine others' are as well
    assert held[last] >= 309


def test_a_week_that_lost_most_of_its_people_is_kept_back(site: Site) -> None:
    ask(site, week(0))
    site.has([*people(0, count=5), *people(1)])
    (after,) = ask(site, week(0), run="r2")
    assert after.withheld


@pytest.mark.parametrize(("count", "rows"), [(15, 0), (20, 140)])
def test_all_rows_of_a_study_without_times_are_held_to_the_same(
    site: Site, count: int, rows: int
) -> None:
    study = site.approves(STUDY.model_copy(update={"time": None, "horizon": "0d"}))
    site.has(people(0, count=count))
    query = Query("profile", study, "r", AS_OF)
    reply = site.ask(query).record(WindowCounts, query.dimensions)
    assert (reply.rows.tolist(), reply.withheld.tolist()) == ([rows], [float(not rows)])


def test_a_site_of_few_people_tells_nothing(site: Site) -> None:
    site.has(people(0, count=15))
    (window,) = ask(site, week(0))
    assert window.withheld
    assert window.profile.rows == window.people == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"windows": between(MONDAY + WEEK, MONDAY)}, "overlap"),
        ({"windows": between(MONDAY, MONDAY + WEEK) * 2}, "overlap"),
        ({"windows": (("today", "tomorrow"),)}, "cannot be read"),
        ({"options": {"weeks": 1e9}}, "between"),
        ({"options": {"weeks": 1.5}}, "whole number"),
        ({"options": {"weeks": 3.0}, "windows": between(MONDAY, MONDAY + WEEK)}, "where there are"),
        ({"parameters": np.ones((1, 3))}, "need a design"),
        ({"windows": between(MONDAY, MONDAY + WEEK), "kind": "summary"}, "where there are none"),
    ],
)
def test_what_is_no_window_is_refused(site: Site, change: dict[str, object], reason: str) -> None:
    assert reason in site.refuses(replace(Query("profile", STUDY, "r", AS_OF), **change))


def test_scores_count_as_an_evaluation(site: Site) -> None:
    site.set(site.policy.model_copy(update={"evaluations_per_day": 2.0}))
    for slope in (0.1, 0.2):
        profile(site, scored(STUDY, [week(0)], pulse=slope))
    assert "2 evaluations" in site.refuses(scored(STUDY, [week(0)], pulse=0.3))
    ask(site, week(0))  # without a model it costs none


def test_weeks_of_a_reference_are_stretches(site: Site) -> None:
    site.has([*people(0), *people(1, count=5), *people(2), *people(3)])
    query = Query("profile", STUDY, "r", AS_OF, options={"weeks": 4.0})
    found = profile(site, query)
    assert [w.profile.rows for w in found] == [0, 420, 455, 420]
    assert found[1].end == found[2].start == MONDAY + WEEK
