"""Writing a cohort: files, truth, reproducible bytes, folders that are not empty."""

import json
from datetime import date
from math import log

import numpy as np
import pyarrow.compute as pc
import pytest
from pyarrow import csv, parquet

from fedrisk.errors import UsageError
from fedrisk.simulation import AMPLIFICATION, simulate, write_cohort
from fedrisk.study import builtin_study, find_study

START = date(2024, 3, 1)
SIZE = (2, 40, 60, 11, START)


def test_each_site_has_a_file_with_the_studys_columns(tmp_path):
    files = write_cohort(tmp_path, *SIZE)
    assert list(files) == ["site-1", "site-2"]
    for cohort in simulate(*SIZE):
        table = csv.read_csv(files[cohort.site])
        assert set(table.column_names) == set(builtin_study("air-wearables").columns)
        assert table.num_rows == cohort.rows
        for name in ("pm25", "steps", "cardiorespiratory_event"):
            np.testing.assert_allclose(table[name].to_numpy(), cohort.columns[name])


def test_missing_values_are_empty_and_nothing_reads_nan(tmp_path):
    size = (1, 300, 10, 11, START)
    file = write_cohort(tmp_path, *size)["site-1"]
    assert "nan" not in file.read_text(encoding="utf-8").lower()
    table = csv.read_csv(file, convert_options=csv.ConvertOptions(strings_can_be_null=True))
    (cohort,) = simulate(*size)
    assert table["age"].null_count == np.isnan(cohort.columns["age"]).sum() > 0
    assert table["sex"].null_count == (cohort.columns["sex"] == "").sum() > 0


def test_parquet_holds_the_same_rows(tmp_path):
    plain = write_cohort(tmp_path / "csv", *SIZE)["site-2"]
    columnar = write_cohort(tmp_path / "parquet", *SIZE, file_format="parquet")["site-2"]
    assert columnar.name == "site-2.parquet"
    first, second = csv.read_csv(plain), parquet.read_table(columnar)
    assert first.column_names == second.column_names
    assert pc.sum(first["o3"]).as_py() == pytest.approx(pc.sum(second["o3"]).as_py())
    assert second["age"].null_count == first["age"].null_count


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_the_same_arguments_give_the_same_bytes(tmp_path, file_format):
    first = write_cohort(tmp_path / "a", *SIZE, file_format=file_format)
    again = write_cohort(tmp_path / "b", *SIZE, file_format=file_format)
    for name, file in first.items():
        assert file.read_bytes() == again[name].read_bytes()
    assert (tmp_path / "a/truth.json").read_bytes() == (tmp_path / "b/truth.json").read_bytes()


def test_the_study_is_written_beside_the_rows(tmp_path):
    write_cohort(tmp_path, *SIZE)
    assert find_study(str(tmp_path / "study.toml")).hash == builtin_study("air-wearables").hash


def test_the_true_risk_is_written_only_on_request(tmp_path):
    plain = write_cohort(tmp_path / "plain", *SIZE)["site-1"]
    with_truth = write_cohort(tmp_path / "truth", *SIZE, truth=True)["site-1"]
    assert "true_risk" not in csv.read_csv(plain).column_names
    (cohort, _) = simulate(*SIZE)
    risk = csv.read_csv(with_truth)["true_risk"].to_numpy()
    np.testing.assert_array_equal(risk, cohort.true_risk)


def test_the_truth_keeps_published_and_scaled_effects_apart(tmp_path):
    write_cohort(tmp_path, *SIZE)
    text = (tmp_path / "truth.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["seed"] == 11
    assert document["start"] == "2024-03-01"
    assert document["scenario"]["name"] == "none"
    assert document["amplification"] == AMPLIFICATION
    effects = {effect["name"]: effect for effect in document["effects"]}
    particles = effects["fine particles"]
    assert particles["published_log_odds_per_unit"] == pytest.approx(log(1.0068) / 10)
    assert particles["log_odds_per_unit"] == pytest.approx(AMPLIFICATION * log(1.0068) / 10)
    assert effects["age"]["published_log_odds_per_unit"] == effects["age"]["log_odds_per_unit"]
    for cohort in simulate(*SIZE):
        site = document["sites"][cohort.site]
        assert site["rows"] == cohort.rows
        assert site["events"] == cohort.events.sum()
        assert site["mean_true_risk"] == pytest.approx(cohort.true_risk.mean())


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="not empty"):
        write_cohort(tmp_path, *SIZE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_force_replaces_an_earlier_cohort_and_leaves_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    write_cohort(tmp_path, 3, 5, 10, 1, START, force=True)
    write_cohort(tmp_path, 1, 5, 10, 1, START, file_format="parquet", force=True)
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["notes.txt", "site-1.parquet", "study.toml", "truth.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"sites": 3}', '{"sites": {"a": {"file": "../x"}}}'])
def test_a_strange_truth_file_does_not_reach_outside_the_folder(tmp_path, text):
    outside = tmp_path / "x"
    outside.write_text("keep", encoding="utf-8")
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "truth.json").write_text(text, encoding="utf-8")
    write_cohort(folder, 1, 5, 10, 1, START, force=True)
    assert outside.read_text(encoding="utf-8") == "keep"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    file = tmp_path / "taken"
    file.write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="is a file"):
        write_cohort(file, *SIZE)


def test_nothing_is_written_when_the_numbers_are_wrong(tmp_path):
    with pytest.raises(UsageError):
        write_cohort(tmp_path / "new", 0, 5, 10, 1, START)
    assert not (tmp_path / "new").exists()


def test_a_site_without_rows_or_events_is_written(tmp_path):
    files = write_cohort(tmp_path, 3, 1, 1, 1, START)
    document = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
    for name, file in files.items():
        assert csv.read_csv(file).num_rows == document["sites"][name]["rows"]
        assert document["sites"][name]["auroc_of_true_risk"] is None


def test_a_scenario_is_told_with_the_day_of_its_change(tmp_path):
    write_cohort(tmp_path, *SIZE, scenario="concept-change", change=date(2024, 4, 10), size=3.0)
    document = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
    assert (document["change"], document["size"]) == ("2024-04-10", 3.0)
    assert document["scenario"]["kind"] == "concept"
    assert "Aguilera" in document["scenario"]["source"]


def test_outcomes_that_are_not_known_are_empty_cells(tmp_path):
    file = write_cohort(tmp_path, *SIZE, scenario="label-delay")["site-1"]
    (cohort, _) = simulate(*SIZE, scenario="label-delay")
    labels = csv.read_csv(file)["cardiorespiratory_event"]
    unknown = cohort.known_on > np.datetime64("2024-04-29") + 8
    assert labels.null_count == unknown.sum() > 0


def test_where_somebody_acts_on_the_score_the_study_says_so(tmp_path):
    files = write_cohort(tmp_path, *SIZE, scenario="label-contamination")
    study = find_study(str(tmp_path / "study.toml"))
    assert study.treated == "acted_on_score"
    assert set(csv.read_csv(files["site-1"]).column_names) == set(study.columns)
