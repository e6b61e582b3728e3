"""`fedrisk simulate`."""

import json
from datetime import date, timedelta

import pytest
from click.testing import CliRunner
from pyarrow import csv

from fedrisk.cli import simulate as command
from fedrisk.cli.main import main
from fedrisk.cli.options import read_sites
from fedrisk.study import builtin_study

SMALL = ["--sites", "2", "--people", "8", "--days", "20"]


def run(folder, *more):
    arguments = [*SMALL, "--output", str(folder), *more]
    return CliRunner().invoke(command.simulate, arguments, catch_exceptions=False)


def test_standard_output_holds_the_flags_of_the_next_command(tmp_path):
    answer = run(tmp_path / "cohort")
    assert answer.exit_code == 0
    study, path, *flags = answer.stdout.split()
    assert (study, path) == ("--study", str(tmp_path / "cohort/study.toml"))
    assert flags[::2] == ["--site", "--site"]
    assert list(read_sites(tuple(flags[1::2]))) == ["site-1", "site-2"]
    assert "rows" in answer.stderr


def test_json_is_one_object_that_names_files_and_rows(tmp_path):
    answer = run(tmp_path / "cohort", "--json")
    document = json.loads(answer.stdout)
    assert document["scenario"] == "none"
    for site in document["sites"].values():
        assert csv.read_csv(site["file"]).num_rows == site["rows"]


def test_by_default_every_outcome_is_known_today(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "today", lambda: date(2026, 3, 1))
    start = date.fromisoformat(json.loads(run(tmp_path / "c", "--json").stdout)["start"])
    assert start + timedelta(days=19) + builtin_study("air-wearables").maturity < date(2026, 3, 1)


def test_a_start_whose_outcomes_are_not_yet_known_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "today", lambda: date(2026, 3, 1))
    late = run(tmp_path / "late", "--start", "2026-02-15")
    assert "not yet mature" in late.stderr
    early = run(tmp_path / "early", "--start", "2025-02-15")
    assert "not yet mature" not in early.stderr


def test_the_same_seed_and_start_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        run(tmp_path / name, "--start", "2024-01-01", "--seed", "5")
    run(tmp_path / "c", "--start", "2024-01-01", "--seed", "6")
    first, again, other = ((tmp_path / name / "site-1.csv").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_the_scenario_and_the_day_of_its_change_are_options(tmp_path):
    more = ["--start", "2024-01-01", "--scenario", "missing-feed", "--change", "2024-01-11"]
    document = json.loads(run(tmp_path / "cohort", *more, "--json").stdout)
    assert (document["scenario"], document["change"]) == ("missing-feed", "2024-01-11")
    table = csv.read_csv(document["sites"]["site-1"]["file"]).to_pylist()
    assert {row["pm25"] is None for row in table if row["date"] >= date(2024, 1, 11)} == {True}
    assert {row["pm25"] is None for row in table if row["date"] < date(2024, 1, 11)} == {False}


def test_truth_and_format_are_options(tmp_path):
    run(tmp_path / "cohort", "--truth", "--format", "parquet")
    from pyarrow import parquet

    assert "true_risk" in parquet.read_schema(tmp_path / "cohort/site-1.parquet").names


@pytest.mark.parametrize(
    "wrong",
    [
        ["--scenario", "heat-dome"],
        ["--change", "1999-01-01"],
        ["--size", "-1"],
        ["--sites", "0"],
        ["--days", "0"],
        ["--seed", "-1"],
    ],
)
def test_wrong_arguments_end_with_a_message_and_write_nothing(tmp_path, capsys, wrong):
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *SMALL, "--output", str(tmp_path / "cohort"), *wrong])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "cohort").exists()


def test_a_folder_that_is_not_empty_needs_force(tmp_path, capsys):
    run(tmp_path / "cohort")
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *SMALL, "--output", str(tmp_path / "cohort")])
    assert ended.value.code == 2
    assert "--force" in capsys.readouterr().err
    assert run(tmp_path / "cohort", "--force").exit_code == 0
