"""A site's rows for monitoring: nothing is refused, everything is counted."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedrisk.errors import DataError
from fedrisk.sites.windows import count_distinct, latest_weeks, load_rows, places_in, whole
from fedrisk.study import parse_study

STUDY = parse_study(
    {
        "name": "ward",
        "label": "died",
        "positive": [1],
        "id": "patient",
        "time": "day",
        "horizon": "7d",
        "features": [
            {"name": "temp", "kind": "number", "minimum": 30, "maximum": 45},
            {"name": "crp", "kind": "number", "missing": "allow"},
            {"name": "sex", "kind": "category", "levels": ["f", "m"], "missing": "allow"},
        ],
    }
)
AS_OF = datetime(2025, 2, 1, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "patient": "a",
    "day": "2025-01-06",
    "temp": 37,
    "crp": 5,
    "sex": "f",
    "died": 0,
}


def write(path: Path, *rows: dict[str, Any], drop: str = "") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [n for n in GOOD if n != drop], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(GOOD | row for row in rows)
    return path


def test_values_that_training_refuses_are_counted_as_outside(tmp_path: Path) -> None:
    bad = [{"temp": 98.6}, {"temp": "warm"}, {"temp": "inf"}, {"crp": 1e300}, {"sex": "x"}]
    rows = load_rows(STUDY, "s", write(tmp_path / "f.csv", {}, *bad), AS_OF)
    assert rows.outside["temp"].tolist() == [False, True, True, True, False, False]
    assert rows.outside["crp"].tolist() == [False] * 4 + [True, False]
    assert rows.outside["sex"].tolist() == [False] * 5 + [True]
    assert np.isnan(rows.columns["temp"][1:4]).all()
    assert rows.columns["sex"].tolist() == [0, 0, 0, 0, 0, -1]
    assert rows.scorable.tolist() == [True, *[False] * 5]


def test_missing_values_are_not_outside_even_where_they_are_not_allowed(tmp_path: Path) -> None:
    file = write(tmp_path / "f.csv", {"temp": ""}, {"crp": "NA"}, {"sex": ""})
    rows = load_rows(STUDY, "s", file, AS_OF)
    assert not rows.outside
    assert np.isnan(rows.columns["temp"]).tolist() == [True, False, False]
    assert rows.scorable.tolist() == [False, True, True]


def test_a_feed_that_broke_off_is_missing_in_every_row(tmp_path: Path) -> None:
    rows = load_rows(STUDY, "s", write(tmp_path / "f.csv", {}, {}, drop="crp"), AS_OF)
    assert np.isnan(rows.columns["crp"]).all()
    assert "crp" not in rows.outside
    without_label = load_rows(STUDY, "s", write(tmp_path / "g.csv", {}, drop="died"), AS_OF)
    assert not without_label.labelled.any()


@pytest.mark.parametrize("column", ["day", "patient"])
def test_times_and_persons_must_be_there(tmp_path: Path, column: str) -> None:
    with pytest.raises(DataError, match=column):
        load_rows(STUDY, "s", write(tmp_path / "f.csv", {}, drop=column), AS_OF)


def test_a_column_of_another_type_is_outside_as_a_whole(tmp_path: Path) -> None:
    table = pa.table({**{n: [GOOD[n]] * 2 for n in GOOD}, "temp": [True, None]})
    pq.write_table(table, tmp_path / "f.parquet")
    rows = load_rows(STUDY, "s", tmp_path / "f.parquet", AS_OF)
    assert rows.outside["temp"].tolist() == [True, False]
    assert np.isnan(rows.columns["temp"]).all()
    table = pa.table({**{n: [GOOD[n]] for n in GOOD}, "day": [3.5]})
    pq.write_table(table, tmp_path / "g.parquet")
    with pytest.raises(DataError, match="no dates"):
        load_rows(STUDY, "s", tmp_path / "g.parquet", AS_OF)


def test_a_label_is_told_once_it_is_mature(tmp_path: Path) -> None:
    days = ["2025-01-24", "2025-01-25", "2025-01-26"]  # seven days before the time, and around
    file = write(tmp_path / "f.csv", *({"day": d, "died": 1} for d in days), {"died": ""})
    rows = load_rows(STUDY, "s", file, AS_OF)
    assert rows.labelled.tolist() == [True, True, False, False]
    assert rows.events.tolist() == [True, True, False, False]


def test_rows_without_a_readable_time_are_in_no_window(tmp_path: Path) -> None:
    days = ["2025-01-05T23:59:59Z", "2025-01-06", "2025-01-12T23:59:59", "2025-01-13", "", "soon"]
    rows = load_rows(STUDY, "s", write(tmp_path / "f.csv", *({"day": d} for d in days)), AS_OF)
    starts = np.array(["2025-01-06", "2025-01-20"], "datetime64[us]")
    found = places_in(rows.times, starts, starts + np.timedelta64(7, "D"))
    assert found.tolist() == [-1, 0, 0, -1, -1, -1]
    assert places_in(rows.times, starts[:0], starts[:0]).tolist() == [-1] * 6


def test_a_study_without_times_has_one_window(tmp_path: Path) -> None:
    study = STUDY.model_copy(update={"time": None, "horizon": "0d"})
    rows = load_rows(study, "s", write(tmp_path / "f.csv", {}, {"day": "soon"}), AS_OF)
    done = whole(rows, AS_OF)
    assert done.window.tolist() == [0, 0]
    assert str(done.end[0]).startswith("2025-02-01")


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    rows = load_rows(STUDY, "s", write(tmp_path / "f.csv"), AS_OF)
    assert len(rows) == 0
    assert len(latest_weeks(rows.times, 5)[0]) == 0


def test_persons_are_counted_once_a_window() -> None:
    window, persons = np.array([0, 0, 0, 1, -1]), np.array([7, 7, 8, 7, 9])
    assert count_distinct(window, persons, 3).tolist() == [2, 1, 0]
