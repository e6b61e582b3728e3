"""What `fedrisk backup` takes, refuses, and does without options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fedrisk.cli.main import cli
from fedrisk.errors import FedriskError, HomeError, UsageError
from fedrisk.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("FEDRISK_DATABASE_URL", raising=False)
    home = Home(tmp_path / "home").prepare()
    monkeypatch.setenv("FEDRISK_HOME", str(home.root))
    home.keys.write_text("{}")
    return home


def run(*words: object) -> str:
    result = CliRunner().invoke(cli, ["backup", *map(str, words)])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_without_a_source_the_home_is_copied(home: Home, tmp_path: Path) -> None:
    told = json.loads(run("create", "--output", tmp_path / "backups", "--json"))
    assert [part["name"] for part in told["parts"]] == ["home"]
    assert told["sealed"] is False
    place = tmp_path / "restored"
    run("restore", tmp_path / "backups", "--home", place)
    assert (place / "keys.json").read_text() == "{}"
    assert "folder home" in run("verify", told["backup"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["create", "--folder", "artifacts"], "is not NAME="),
        (["create", "--folder", "../x=/tmp"], "is not NAME="),
        (["create", "--folder", "a=x", "--folder", "a=y"], "given twice"),
        (["create", "--home", "x", "--folder", "home=y"], "given twice"),
        (["create", "--database", "a=sqlite:///x.db"], "postgresql"),
        (["create", "--database", "a=nonsense"], "postgresql"),
        (["create", "--database", "a=postgresql://u:hidden@h/d"], "command line"),
        (["create", "--recipient", "missing.pub"], "cannot be read"),
        (["create", "--home", "missing"], "no folder"),
    ],
)
def test_what_cannot_be_copied_is_said(
    home: Home, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(FedriskError, match=message) as told:
        run(*words, "--output", tmp_path / "backups")
    assert "hidden" not in str(told.value)
    assert not list((tmp_path / "backups").glob("fedrisk-*"))


def test_a_restore_names_its_targets_and_finds_a_backup(home: Home, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is named"):
        run("restore", tmp_path)
    with pytest.raises(HomeError, match="no whole backup"):
        run("restore", tmp_path, "--home", tmp_path / "x")
    with pytest.raises(HomeError, match="no whole backup"):
        run("verify", tmp_path / "missing")


def test_a_private_key_is_no_recipient(home: Home, tmp_path: Path) -> None:
    run("keygen", "--output", tmp_path / "key")
    with pytest.raises(UsageError, match="private key"):
        run("create", "--output", tmp_path / "b", "--recipient", tmp_path / "key")
    run("create", "--output", tmp_path / "b", "--recipient", tmp_path / "key.pub")
    assert "folder home" in run("verify", tmp_path / "b", "--key", tmp_path / "key")
