"""Recording: everything is there, once, or nothing looks finished."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

import fedrisk
from fedrisk.errors import ModelFileError, RegistryError
from fedrisk.home import Home
from fedrisk.registry import record
from fedrisk.registry.cache import sha256
from fedrisk.registry.record import figures, metric_name, record_training
from fedrisk.registry.store import open_store
from fedrisk.registry.versions import find_run, list_versions
from fedrisk.settings import Settings

SETTINGS = Settings(tracking_uri=None, registry_name="")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, result):
    home = Home(tmp_path_factory.mktemp("homes") / "a home").prepare()
    version = record_training(result, home, SETTINGS)
    return home, version


@pytest.fixture(scope="module")
def store(recorded):
    return open_store(recorded[0], SETTINGS)


@pytest.fixture(scope="module")
def run(recorded, store):
    version = find_run(store, "run-1")
    return store.client.get_run(version.mlflow_run)


def test_the_version_carries_the_run_and_no_alias(recorded, store):
    found = find_run(store, "run-1")
    assert recorded[1] == found.version == "1"
    assert (found.name, found.aliases, found.moves) == ("heart", (), ())
    assert found.summary["rows"] == 600
    assert found.summary["sites"] == 2
    assert find_run(store, "run-2") is None


def test_the_run_is_finished_and_says_what_made_it(run, result):
    assert run.info.status == "FINISHED"
    assert run.data.tags["fedrisk.run_id"] == "run-1"
    assert run.data.tags["fedrisk.study_hash"] == result.request.study.hash
    assert run.data.tags["fedrisk.version"] == fedrisk.__version__
    assert run.data.params["strategy"] == "exact"
    assert run.data.params["penalty"] == "1.0"


def test_overall_and_site_metrics_are_logged(run, result):
    assert run.data.metrics["auroc"] == result.metrics["auroc"]
    assert run.data.metrics["site/St. Anna/auroc"] == result.per_site["St. Anna"]["auroc"]
    assert run.data.metrics["site/St. Anna/rows_train"] == 400
    assert "site/north/auroc" not in run.data.metrics


def test_metrics_by_round_have_the_round_as_step(store, run, result):
    history = store.client.get_metric_history(run.info.run_id, "round/loss_per_row")
    assert [point.step for point in history] == [each.number for each in result.rounds]
    assert [point.value for point in history] == [e.metrics["loss_per_row"] for e in result.rounds]
    sites = store.client.get_metric_history(run.info.run_id, "site/north/round/seconds")
    assert len(sites) == len(result.rounds)


def _text(store, run, path):
    from pathlib import Path

    return Path(store.client.download_artifacts(run.info.run_id, path)).read_text()


def test_study_rounds_and_card_are_artifacts(store, run, result):
    assert sha256(_text(store, run, "study.json").encode()) == result.request.study.hash
    rounds = list(csv.DictReader(io.StringIO(_text(store, run, "rounds.csv"))))
    assert [int(each["number"]) for each in rounds] == [each.number for each in result.rounds]
    assert rounds[0]["sites"] == "St. Anna north"
    assert "Not for real patients" in _text(store, run, "model/model_card.md")


def test_the_readable_model_is_an_artifact_with_its_hash(store, run, result):
    text = _text(store, run, "model/data/fedrisk/model.json")
    assert json.loads(text) == result.model
    assert find_run(store, "run-1").hashes["model.json"] == sha256(text.encode())


def test_artifacts_lie_under_the_home(recorded, run):
    assert run.info.artifact_uri.startswith(recorded[0].mlflow_artifacts.absolute().as_uri())
    assert recorded[0].mlflow_database.is_file()


def test_recording_again_answers_the_same_version(recorded, store, result):
    assert record_training(result, recorded[0], SETTINGS) == "1"
    assert len(list_versions(store, "heart")) == 1


def test_another_run_is_another_version(tmp_path, make_result):
    home = Home(tmp_path / "home").prepare()
    settings = Settings(tracking_uri=None, registry_name="other")
    assert record_training(make_result("a"), home, settings) == "1"
    assert record_training(make_result("b"), home, settings) == "2"
    found = list_versions(open_store(home, settings), "other")
    assert [each.run_id for each in found] == ["b", "a"]


@pytest.mark.parametrize("step", ["_log_figures", "_log_files", "_register"])
@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_that_looks_finished(tmp_path, result, monkeypatch, step, failure):
    home = Home(tmp_path / "home").prepare()

    def fail(*_):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(record, step, fail)
        expected = RegistryError if isinstance(failure, OSError) else KeyboardInterrupt
        with pytest.raises(expected):
            record_training(result, home, SETTINGS)
    store = open_store(home, SETTINGS)
    assert store.client.search_registered_models() == []
    assert _statuses(store) == ["FAILED"]
    assert record_training(result, home, SETTINGS) == "1"
    assert sorted(_statuses(store)) == ["FAILED", "FINISHED"]


def test_a_killed_run_is_failed_by_the_next(tmp_path, result, monkeypatch):
    home = Home(tmp_path / "home").prepare()
    store = open_store(home, SETTINGS)
    with store.writing():
        experiment = record.experiment_id(store, "heart")
    store.client.create_run(experiment, tags={"fedrisk.run_id": "run-1"})
    store.client.create_run(experiment, tags={"fedrisk.run_id": "run-7"})
    assert record_training(result, home, SETTINGS) == "1"
    assert sorted(_statuses(store)) == ["FAILED", "FINISHED", "RUNNING"]


def test_death_between_version_and_end_is_repaired(tmp_path, result):
    home = Home(tmp_path / "home").prepare()
    record_training(result, home, SETTINGS)
    store = open_store(home, SETTINGS)
    store.client.update_run(find_run(store, "run-1").mlflow_run, status="RUNNING")
    assert record_training(result, home, SETTINGS) == "1"
    assert _statuses(store) == ["FINISHED"]


def _statuses(store):
    found = store.client.search_experiments(filter_string="name = 'heart'")
    runs = store.client.search_runs([each.experiment_id for each in found])
    return [run.info.status for run in runs]


def test_a_model_that_fails_its_test_is_not_recorded(tmp_path, result):
    home = Home(tmp_path / "home").prepare()
    checks = [{**result.checks[0], "risk": 0.123456}]
    with pytest.raises(ModelFileError):
        record_training(result.model_copy(update={"checks": checks}), home, SETTINGS)
    assert not home.mlflow_database.exists()


def test_figures_leave_out_what_is_not_a_number(result):
    strange = result.model_copy(update={"metrics": {"auroc": None, "brier": math.nan, "rows": 1.0}})
    names = {name for name, _, _ in figures(strange)}
    assert "rows" in names
    assert not names & {"auroc", "brier"}


@pytest.mark.parametrize("name", ["a/b", "..", ".", "süd ost", "x" * 300, "a:b%c", "北"])
def test_any_site_name_makes_a_metric_name(name):
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(f"site/{metric_name(name)}/round/seconds")


def test_names_that_were_changed_stay_apart():
    assert metric_name("a/b") != metric_name("a_b") != metric_name("a:b") != metric_name("a/b")
