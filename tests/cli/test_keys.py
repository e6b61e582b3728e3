"""Keys are shown once, listed without secrets, replaced with an overlap, and revoked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrisk.cli import main
from fedrisk.errors import CredentialsError
from fedrisk.serving.access.keys import read_keys


def run(capsys, *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["keys", *map(str, arguments)])
    return int(ended.value.code or 0), capsys.readouterr().out


def add(capsys, home: Path, *arguments: object) -> dict[str, str]:
    options = ("--scope", "predict", "--home", home, "--json", *arguments)
    code, out = run(capsys, "add", "app", *options)
    assert code == 0
    return json.loads(out)


def test_a_key_is_made_and_its_secret_shown_once(tmp_path: Path, capsys) -> None:
    home = tmp_path / "home"
    made = add(capsys, home, "--days", 30, "--rate", 5)
    ring, now = read_keys(home / "keys.json"), datetime.now(UTC)
    key = ring.find(made["secret"], now)
    assert (key.name, key.scopes, key.per_second) == ("app", ("predict",), 5.0)
    assert key.valid_at(now + timedelta(days=29))
    assert not key.valid_at(now + timedelta(days=31))
    _, listed = run(capsys, "list", "--home", home, "--json")
    assert made["id"] in listed
    assert made["secret"] not in listed
    assert key.hash not in listed


def test_another_key_of_a_name_may_end_the_earlier_ones(tmp_path: Path, capsys) -> None:
    home = tmp_path / "home"
    old = add(capsys, home)
    new = add(capsys, home, "--replace-after", 24)
    ring, now = read_keys(home / "keys.json"), datetime.now(UTC)
    assert ring.find(old["secret"], now)
    with pytest.raises(CredentialsError, match="expired"):
        ring.find(old["secret"], now + timedelta(hours=25))
    assert ring.find(new["secret"], now + timedelta(hours=25))


def test_keys_in_a_file_of_their_own_need_no_home(tmp_path: Path, capsys, monkeypatch) -> None:
    file = tmp_path / "secrets" / "api-keys"
    monkeypatch.setenv("FEDRISK_KEYS", str(file))
    made = add(capsys, tmp_path / "home")
    assert read_keys(file).find(made["secret"], datetime.now(UTC)).name == "app"
    _, listed = run(capsys, "list", "--json")
    assert made["id"] in listed
    assert not (tmp_path / "home").exists()
    monkeypatch.setenv("FEDRISK_KEYS", "/proc/nowhere/api-keys")
    assert run(capsys, "add", "app", "--scope", "predict")[0] == 5


def test_a_revoked_key_is_refused_and_an_unknown_one_is_an_error(tmp_path: Path, capsys) -> None:
    home = tmp_path / "home"
    made = add(capsys, home)
    assert run(capsys, "revoke", made["id"], "--home", home)[0] == 0
    with pytest.raises(CredentialsError):
        read_keys(home / "keys.json").find(made["secret"], datetime.now(UTC))
    assert run(capsys, "revoke", made["id"], "--home", home)[0] == 2
