from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from fedrisk.cli import main
from fedrisk.home import Home
from fedrisk.settings import Settings
from tests.serving.conftest import ROW, store

HEADER = "id,age,pm2.5,marker,sex,ward\n"
GOOD = "7,71.5,12,-1.25,male,c d\n"
BAD = "8,171.5,12,-1.25,male,c d\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home").prepare()
    store(home)
    return home


@pytest.fixture
def score(tmp_path: Path, home: Home, capsys):
    """Score a text; returns exit code, output, error text and the output file."""

    def call(text: str, *options: str) -> tuple[int, str, str, Path]:
        given, target = tmp_path / "rows.csv", tmp_path / "scored.csv"
        given.write_text(text)
        arguments = ["--home", home.root, "--input", given, "--output", target]
        with pytest.raises(SystemExit) as ended:
            main(["score", *map(str, arguments), *options])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err, target

    return call


def test_rows_are_scored_by_the_champion(score, home: Home) -> None:
    code, out, _, target = score(HEADER + GOOD, "--json")
    assert code == 0
    document = json.loads(out)
    assert document["rows"] == document["scored"] == 1
    assert document["model"] == {"name": "clinic", "version": "1"}
    assert document["levels"] == {"low": 0, "medium": 1, "high": 0}
    (row,) = csv.DictReader(target.read_text().splitlines())
    assert row["id"] == "7"
    from fedrisk.registry.cache import read_model
    from fedrisk.serving.scoring import Scorer

    risk = Scorer(read_model(home.champion).model).risk(ROW)
    assert float(row["risk_score"]) == pytest.approx(risk, abs=1e-12)


def test_people_read_counts_on_standard_error(score) -> None:
    code, out, err, _ = score(HEADER + GOOD * 3)
    assert (code, out) == (0, "")
    assert "3 rows scored by clinic version 1" in err
    assert "0 low, 3 medium, 0 high" in err


def test_rows_that_break_the_study_are_told_and_nothing_is_written(score) -> None:
    code, _, err, target = score(HEADER + GOOD + BAD)
    assert code == 4
    assert "row 2, column 'age': '171.5' must be between 0 and 120 year" in err
    assert "--on-error blank" in err
    assert not target.exists()


def test_or_they_are_left_blank_and_counted(score) -> None:
    code, _, err, target = score(HEADER + GOOD + BAD, "--on-error", "blank")
    assert code == 0
    assert "1 rows break the study" in err
    assert target.read_text().splitlines()[2] == BAD.strip() + ",,"


def test_without_a_champion_there_is_an_error(score, home: Home) -> None:
    home.champion.unlink()
    code, _, err, _ = score(HEADER + GOOD)
    assert code == 8
    assert "no model" in err


def test_a_version_that_the_cache_holds_needs_no_registry(score, home: Home) -> None:
    code, out, _, _ = score(HEADER + GOOD, "--version", "1", "--json")
    assert code == 0
    assert json.loads(out)["model"]["version"] == "1"
    assert not home.mlflow_database.exists()


def test_another_version_comes_from_the_registry(score, home, monkeypatch, tmp_path) -> None:
    other = store(Home(tmp_path / "other").prepare(), "2", seed=2)
    asked = []

    def fetch(place: Home, settings: Settings, version: str | None) -> object:
        asked.append((place, settings.registry_name, version))
        return other

    monkeypatch.setattr("fedrisk.registry.fetch.fetch_version", fetch)
    code, out, _, _ = score(HEADER + GOOD, "--version", "2", "--json")
    assert code == 0
    assert asked == [(home, "", "2")]
    assert json.loads(out)["model"]["version"] == "2"
    # Version 1 of this home's model is in the cache; that of another model is not.
    for options in (("--name", "other", "--version", "1"), ("--name", "other")):
        assert score(HEADER + GOOD, *options)[0] == 0
    assert asked[1:] == [(home, "other", "1"), (home, "other", None)]
    assert score(HEADER + GOOD, "--name", "clinic")[0] == 0
    assert len(asked) == 3
