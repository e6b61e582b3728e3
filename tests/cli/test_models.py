"""`fedrisk models`, `promote`, `rollback`: what they print, and how they fail."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from fedrisk.cli.main import cli, main
from fedrisk.home import Home
from fedrisk.registry import promotion, store, versions
from fedrisk.registry.promotion import Released
from fedrisk.registry.versions import RegisteredVersion


def _version(number, *aliases, auroc=0.8125, name="heart"):
    return RegisteredVersion(
        name=name,
        version=str(number),
        run_id=f"run-{number}",
        mlflow_run="m",
        created=datetime(2025, 3, 1, 12, 30, tzinfo=UTC),
        aliases=aliases,
        study_hash="h",
        hashes={},
        summary={"auroc": auroc, "rows": 40_830, "sites": 16, "strategy": "exact"},
        moves=({"number": 1, "alias": "champion"},),
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("FEDRISK_TRACKING_URI", "MLFLOW_TRACKING_URI", "FEDRISK_REGISTRY_NAME"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path / "home").prepare()


@pytest.fixture
def calls(monkeypatch):
    """The registry is replaced: what the commands asked of it."""
    seen = []

    def promote(home, settings, version, reason, now):
        seen.append(("promote", settings.registry_name, version, reason, now.tzinfo))
        return Released(version, "champion", "heart")

    def rollback(home, settings, reason, now):
        seen.append(("rollback", settings.registry_name, reason, now.tzinfo))
        return Released("1", "champion", "heart")

    monkeypatch.setattr(promotion, "promote", promote)
    monkeypatch.setattr(promotion, "rollback", rollback)
    monkeypatch.setattr(store, "open_store", lambda home, settings: SimpleNamespace())
    found = [_version(2, "challenger", auroc=None), _version(1, "champion")]
    monkeypatch.setattr(versions, "list_models", lambda store: {"heart": found})
    return seen


@pytest.fixture
def two(home, calls, monkeypatch):
    """The registry holds two models; the home serves the second by name."""
    models = {name: [_version(1, "champion", name=name)] for name in ("asthma", "heart")}
    monkeypatch.setattr(versions, "list_models", lambda store: models)
    monkeypatch.setattr(versions, "served_name", lambda home: "heart")
    return home


def _run(*arguments):
    done = CliRunner().invoke(cli, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_models_is_a_table(home, calls, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    lines = _run("models", "--home", home.root).splitlines()
    (champion,) = [line for line in lines if "champion" in line]
    for text in ("0.8125", "40,830", "16", "exact", "2025-03-01 12:30", "run-1"):
        assert text in champion
    assert lines[0].strip() == "heart"


def test_models_prints_one_json_object(home, calls):
    document = json.loads(_run("models", "--home", home.root, "--json"))
    assert document["name"] == "heart"
    assert [each["version"] for each in document["versions"]] == ["2", "1"]
    first = document["versions"][1]
    assert (first["aliases"], first["auroc"], first["run_id"]) == (["champion"], 0.8125, "run-1")
    assert first["created"] == "2025-03-01T12:30:00+00:00"
    assert document["versions"][0]["auroc"] is None


def test_models_lists_every_model_and_says_which_serves(two, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = _run("models", "--home", two.root)
    assert "asthma (not served by this home)" in text
    assert "heart (served by this home)" in text
    document = json.loads(_run("models", "--home", two.root, "--json"))
    assert (document["name"], len(document["versions"])) == ("heart", 1)
    assert [(m["name"], m["served"]) for m in document["models"]] == [
        ("asthma", False),
        ("heart", True),
    ]


def test_one_of_several_models_can_be_listed(two):
    document = json.loads(_run("models", "--home", two.root, "--name", "asthma", "--json"))
    assert document["name"] == document["versions"][0]["name"] == "asthma"
    assert [m["name"] for m in document["models"]] == ["asthma"]


def test_an_unknown_model_is_an_error(two, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["models", "--home", str(two.root), "--name", "zzz"])
    assert caught.value.code == 8
    told = capsys.readouterr().err
    assert "the registry holds no model 'zzz'" in told
    assert "models: asthma, heart" in told


def test_promote_hands_on_version_name_and_reason(home, calls):
    text = _run("promote", "2", "--home", home.root, "--name", "other", "--reason", "better")
    assert text == "heart version 2 is the champion\n"
    assert calls == [("promote", "other", "2", "better", UTC)]


def test_rollback_prints_json(home, calls):
    document = json.loads(_run("rollback", "--home", home.root, "--json"))
    assert document == {"name": "heart", "version": "1", "alias": "champion"}
    assert calls == [("rollback", "", "", UTC)]


def test_a_move_that_does_not_change_what_serves_says_so(home, calls, monkeypatch):
    def rollback(home, settings, reason, now):
        return Released("1", "champion", "heart", ("asthma", "3"))

    monkeypatch.setattr(promotion, "rollback", rollback)
    done = CliRunner().invoke(cli, ["rollback", "--home", str(home.root), "--name", "heart"])
    assert "this home serves another model, asthma version 3" in done.stderr


@pytest.mark.parametrize("command", [["models"], ["promote", "1"], ["rollback"]])
def test_a_folder_that_is_no_home_is_refused(tmp_path, capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--home", str(tmp_path / "none")])
    assert caught.value.code == 5
    assert "is not a fedrisk home" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_empty_registry_is_an_error_without_a_trace(home, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["promote", "1", "--home", str(home.root), "--json"])
    captured = capsys.readouterr()
    assert caught.value.code == 8
    assert captured.err.splitlines()[0] == "error: the registry holds no model"
    assert json.loads(captured.out)["error"] == "the registry holds no model"
