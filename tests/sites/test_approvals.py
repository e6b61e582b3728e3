"""Approvals name a person, a study by its hash, and a time; a damaged file approves nothing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrisk.errors import SiteFolderError
from fedrisk.sites.approvals import approve, read_approvals
from fedrisk.study import Study

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_nobody_approved_anything_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_approvals(tmp_path / "approvals.json") == []


def test_approvals_are_kept_in_their_order(tmp_path: Path, study: Study) -> None:
    path = tmp_path / "approvals.json"
    first = approve(path, study, "Ada", NOW)
    second = approve(path, study, "Ben", NOW + timedelta(days=1))
    assert read_approvals(path) == [first, second]
    assert (first.study, first.name, first.by) == (study.hash, "small", "Ada")
    assert first.time < second.time
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"approvals.json", "approvals.lock"}, "nothing half-written is left"


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "3", '[{"study": "a"}]', '["a"]', '[{"study":1,"name":2,"by":3,"when":4}]'],
)
def test_a_damaged_file_is_an_error(tmp_path: Path, study: Study, text: str) -> None:
    path = tmp_path / "approvals.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SiteFolderError, match="not a list of approvals"):
        read_approvals(path)
    with pytest.raises(SiteFolderError):
        approve(path, study, "Ada", NOW)
    assert path.read_text(encoding="utf-8") == text  # nothing is written over it


def test_people_who_approve_at_one_time_lose_nobody(tmp_path: Path, study: Study) -> None:
    path, people = tmp_path / "approvals.json", [f"person {number}" for number in range(12)]
    with ThreadPoolExecutor(len(people)) as pool:
        made = list(pool.map(lambda who: approve(path, study, who, NOW), people))
    assert {entry.by for entry in read_approvals(path)} == set(people)
    assert len(made) == len(people)


def test_a_folder_that_cannot_be_written_approves_nothing(tmp_path: Path, study: Study) -> None:
    with pytest.raises(SiteFolderError, match="cannot be written"):
        approve(tmp_path / "nowhere" / "approvals.json", study, "Ada", NOW)


def test_names_of_people_survive(tmp_path: Path, study: Study) -> None:
    approve(tmp_path / "a.json", study, "Zoë Ægir", NOW)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text)[0]["by"] == "Zoë Ægir"
    assert read_approvals(tmp_path / "a.json")[0].by == "Zoë Ægir"
