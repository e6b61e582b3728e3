"""Which revision the tables are of, told to people and to scripts."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from fedrisk.cli.main import cli, main
from fedrisk.database.revision import HEAD
from fedrisk.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("FEDRISK_DATABASE_URL", "FEDRISK_DATABASE_PASSWORD_FILE", "FEDRISK_HOME"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path / "home").prepare()


def told(*words: object) -> dict[str, object]:
    result = CliRunner().invoke(cli, ["database", *map(str, words), "--json"])
    assert result.exception is None, result.exception
    return dict(json.loads(result.stdout))


def refused(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["database", *map(str, words)])
    return int(ended.value.code or 0)


def test_a_home_is_upgraded_once(home: Home) -> None:
    assert told("current", "--home", home.root)["state"] == "empty"
    assert told("upgrade", "--home", home.root) == {"before": None, "revision": HEAD}
    assert told("upgrade", "--home", home.root) == {"before": HEAD, "revision": HEAD}
    current = {"state": "current", "revision": HEAD, "head": HEAD}
    assert told("check", "--home", home.root) == current
    assert told("current", "--file", home.state) == current


def test_the_database_that_settings_name_needs_no_home(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FEDRISK_DATABASE_URL", f"sqlite:///{tmp_path / 'named.db'}")
    monkeypatch.setenv("FEDRISK_HOME", str(tmp_path / "missing"))
    assert told("upgrade")["revision"] == HEAD
    assert (tmp_path / "named.db").exists()


def test_tables_that_cannot_be_used_end_the_check_with_five(home: Home, capsys) -> None:
    assert refused("check", "--home", home.root) == 5
    assert "fedrisk database upgrade" in capsys.readouterr().err
    told("upgrade", "--home", home.root)
    with closing(sqlite3.connect(home.state)) as database, database:
        database.execute("UPDATE fedrisk_revision SET version_num = '9999'")
        database.execute("UPDATE fedrisk_compatibility SET oldest = '9999'")
    assert refused("check", "--home", home.root) == 5
    assert "use the newer fedrisk" in capsys.readouterr().err
    assert refused("upgrade", "--home", home.root) == 5
    assert refused("check", "--home", home.root / "missing") == 5


def test_a_file_that_is_no_database_is_named(home: Home, capsys) -> None:
    home.state.write_text("no database, but long enough to be read as one" * 20)
    assert refused("upgrade", "--home", home.root) == 5
    assert "cannot be upgraded" in capsys.readouterr().err
    assert refused("current", "--home", home.root) == 5
    assert "Traceback" not in capsys.readouterr().err
