"""What a site answers about windows of time, against counting by hand."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedrisk.errors import EgressError
from fedrisk.federation.client_app import handle
from fedrisk.federation.packing import unpack
from fedrisk.federation.plausibility import Known, check_reply
from fedrisk.federation.query import MESSAGE_TYPES, Query, Reply
from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.summary import summarise
from fedrisk.profiles.profile import score_edges
from fedrisk.profiles.window_counts import WindowCounts, site_windows
from fedrisk.study import Study, parse_study

AS_OF = "2025-03-01T00:00:00+00:00"
MONDAY = datetime(2025, 1, 6, tzinfo=UTC)
STUDY = parse_study(
    {
        "name": "ward",
        "label": "died",
        "positive": [1],
        "id": "patient",
        "time": "day",
        "features": [
            {"name": "temp", "kind": "number", "minimum": 30, "maximum": 45},
            {"name": "sex", "kind": "category", "levels": ["f", "m"], "missing": "allow"},
        ],
    }
)
DAYS = 24


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    random = np.random.default_rng(3)
    return [
        {
            "patient": person,
            "day": (MONDAY + timedelta(days=day, hours=3)).isoformat(),
            "temp": round(float(random.normal(37, 1)), 2) if random.random() > 0.05 else 98.6,
            "sex": random.choice(["f", "m", ""]),
            "died": int(random.random() < 0.3),
        }
        for day in range(DAYS)
        for person in range(20)
    ]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]) -> Path:
    path = tmp_path_factory.mktemp("site") / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def windows(*weeks: int) -> tuple[tuple[str, str], ...]:
    starts = [MONDAY + timedelta(weeks=week) for week in weeks]
    return tuple((s.isoformat(), (s + timedelta(weeks=1)).isoformat()) for s in starts)


def ask(file: Path, query: Query) -> Reply:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 0
    message = Message(query.content(), 1, MESSAGE_TYPES[query.kind])
    message.metadata.__dict__["_message_id"] = uuid4().hex
    context = Context(1, 1, {"site": "north", "data": str(file)}, RecordDict(), {})
    content = handle(message, context).content
    about = content.config_records["site"]
    assert "refusal" not in content.config_records, content.config_records["refusal"]
    reply = Reply("north", unpack(content.array_records["arrays"]), int(about["rows"]))
    check_reply(reply, query, Known())
    return reply


def counts(file: Path, query: Query) -> WindowCounts:
    return ask(file, query).record(WindowCounts, query.dimensions)


def with_model(study: Study, intercept: float, temp: float) -> Query:
    random = np.random.default_rng(0)
    columns = {"temp": random.normal(37, 1, 99), "sex": random.integers(-1, 2, 99).astype(np.int32)}
    design = design_from_summary(study, summarise(study, columns, random.random(99) < 0.5))
    named = {"temp": temp}
    vector = [intercept, *(named.get(column.name, 0.0) for column in design.columns)]
    return Query("profile", study, "r", AS_OF, design, np.array([vector]), windows=windows(0, 2))


def test_windows_hold_what_counting_by_hand_finds(
    file: Path, rows: list[dict[str, object]]
) -> None:
    query = Query("profile", STUDY, "r", AS_OF, windows=windows(0, 2, 9))
    first, third, last = site_windows(STUDY, "north", counts(file, query))
    assert (first.profile.rows, third.profile.rows, last.profile.rows) == (140, 140, 0)
    assert (first.people, first.days) == (20, 7)
    assert (first.start, first.end) == (MONDAY, MONDAY + timedelta(weeks=1))
    week = rows[2 * 140 : 3 * 140]
    outside = sum(row["temp"] == 98.6 for row in week)
    assert third.profile.outside == {"temp": outside, "sex": 0}
    assert third.profile.numbers["temp"].sum() == 140 - outside
    assert third.profile.missing["sex"] == sum(row["sex"] == "" for row in week)
    men = sum(row["sex"] == "m" for row in week)
    assert third.profile.categories["sex"][1] == men
    assert not third.profile.scores.any()
    assert third.profile.moments[0, 0] == 140 - outside


def test_a_model_scores_the_rows_that_serving_would(
    file: Path, rows: list[dict[str, object]]
) -> None:
    query = with_model(STUDY, -1.0, 0.5)
    first, _ = site_windows(STUDY, "north", counts(file, query))
    column = next(c for c in query.design.columns if c.name == "temp")
    week = [row for row in rows[:140] if row["temp"] != 98.6]
    logits = [-1.0 + 0.5 * (float(row["temp"]) - column.mean) / column.scale for row in week]
    places = np.searchsorted(score_edges(), logits, side="right")
    expected = np.bincount(places, minlength=194)
    assert np.array_equal(first.profile.scores, expected)
    assert np.array_equal(first.profile.labelled, expected)
    died = np.bincount(places, [int(row["died"]) for row in week], minlength=194)
    assert np.array_equal(first.profile.events, died)


def test_the_latest_weeks_are_the_site_s_own(file: Path) -> None:
    query = Query("profile", STUDY, "r", AS_OF, options={"weeks": 3.0})
    found = site_windows(STUDY, "north", counts(file, query))
    assert [w.start for w in found] == [MONDAY + timedelta(weeks=week) for week in (1, 2, 3)]
    assert [w.profile.rows for w in found] == [140, 140, 60]
    more = site_windows(STUDY, "north", counts(file, replace(query, options={"weeks": 6.0})))
    assert [w.profile.rows for w in more] == [0, 0, 140, 140, 140, 60]
    until = (MONDAY + timedelta(days=8)).isoformat()
    early = site_windows(STUDY, "north", counts(file, replace(query, until=until)))
    assert [w.profile.rows for w in early] == [0, 140, 20]


def test_a_study_without_times_is_one_window(file: Path) -> None:
    study = STUDY.model_copy(update={"time": None})
    query = Query("profile", study, "r", AS_OF)
    (whole,) = site_windows(study, "north", counts(file, query))
    assert (whole.profile.rows, whole.people) == (DAYS * 20, 20)


@pytest.mark.parametrize("content", ["", ",soon,37,f,1\n", "p1,,37,f,1\n"])
def test_a_file_without_a_row_in_time_has_empty_windows(tmp_path: Path, content: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("patient,day,temp,sex,died\n" + content)
    query = Query("profile", STUDY, "r", AS_OF, windows=windows(0, 2))
    for asked in (query, replace(query, windows=(), options={"weeks": 2.0})):
        found = site_windows(STUDY, "north", counts(file, asked))
        assert [(w.profile.rows, w.people, w.withheld) for w in found] == [(0, 0, False)] * 2
    (everything,) = site_windows(STUDY, "north", counts(file, replace(query, windows=())))
    assert everything.profile.rows == 0


def test_all_rows_of_a_study_with_times_are_one_window(file: Path) -> None:
    (found,) = site_windows(STUDY, "north", counts(file, Query("profile", STUDY, "r", AS_OF)))
    assert (found.profile.rows, found.days, found.people) == (DAYS * 20, DAYS, 20)
    assert found.start == MONDAY + timedelta(hours=3)


def test_windows_are_part_of_what_was_asked() -> None:
    query = Query("profile", STUDY, "r", AS_OF, windows=windows(0))
    again = Query.from_content(query.content())
    assert again.windows == query.windows
    assert again.digest == query.digest != replace(query, windows=windows(1)).digest


@pytest.mark.parametrize(
    ("field", "change", "reason"),
    [
        ("rows", 0.5, "no counts"),
        ("people", 1000, "more people"),
        ("days", 1000, "more days"),
        ("end", -1e12, "ends before"),
        ("end", 1e6, "ends outside"),
        ("end", 1e13, "of no time"),
        ("start", -1e12, "of no time"),
        ("bins", 1000, "more values of 'temp'"),
        ("outside", 1000, "more values"),
        ("levels", 1000, "more values of 'sex'"),
        ("scores", 1000, "more scores"),
        ("labelled", 1000, "more labels"),
        ("events", 1000, "more events"),
        ("withheld", 1, "has rows"),
        ("moments", 1000, "more complete rows"),
        ("moments", -1000, "beyond their rows"),
        ("withheld", 0.5, "in part"),
    ],
)
def test_impossible_windows_are_refused(file: Path, field: str, change: float, reason: str) -> None:
    query = with_model(STUDY, -1.0, 0.5)
    reply = ask(file, query)
    name = f"window_counts/{field}"
    changed = reply.arrays[name].copy()
    changed.flat[0] += change
    with pytest.raises(EgressError, match=reason):
        check_reply(replace(reply, arrays={**reply.arrays, name: changed}), query, Known())
