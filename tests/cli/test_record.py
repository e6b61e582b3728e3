"""`record`: keys are made, what was recorded is opened or erased."""

from __future__ import annotations

import csv
import json
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from running import start

from fedrisk.cli.main import cli
from fedrisk.errors import HomeError, UsageError
from fedrisk.home import Home
from tests.serving.conftest import ROW, store
from tests.serving.conftest import home as home


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["record", *words], catch_exceptions=True)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "auditor.key"
    made = json.loads(run("keygen", "--output", str(file), "--json").stdout)
    assert made == {"private": str(file), "public": f"{file}.pub"}
    return file


@pytest.fixture
def recorded(home: Home, key: Path) -> Home:
    """A home whose server has answered three requests, recorded them and ended."""
    store(home)
    settings = {"FEDRISK_RECORD_SHARE": "1", "FEDRISK_RECORD_DAYS": "7"}
    settings["FEDRISK_RECORD_KEY"] = f"{key}.pub"
    options = ["serve", "--home", str(home.root), "--port", "0", "--json"]
    with start(*options, **settings) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            for number in range(3):
                kind = {"Content-Type": "application/json", "X-Request-ID": f"r{number}"}
                body = json.dumps(ROW).encode()
                request = urllib.request.Request(f"{url}/predict", body, kind)
                urllib.request.urlopen(request, timeout=20).close()
            process.terminate()
            process.communicate(timeout=40)
            assert process.returncode == 0
        finally:
            process.kill()
    return home


def test_a_servers_record_is_opened_in_both_formats_and_erased(
    recorded: Home, key: Path, tmp_path: Path
) -> None:
    place = ["--home", str(recorded.root)]
    done = run("read", *place, "--key", str(key))
    assert [json.loads(line)["request_id"] for line in done.stdout.splitlines()] == [
        *("r0", "r1", "r2")
    ]
    assert done.stderr == ""
    output = tmp_path / "rows.csv"
    words = [*place, "--key", str(key), "--format", "csv", "--output", str(output)]
    assert run("read", *words).exit_code == 0
    assert output.stat().st_mode & 0o077 == 0
    with output.open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [each["request_id"] for each in found] == ["r0", "r1", "r2"]
    assert found[0]["marker"] == "-1.25"
    assert isinstance(run("read", *words).exception, UsageError)
    assert run("read", *place, "--key", str(key), "--until", "2020-01-01").stdout == ""
    assert run("read", *place, "--key", f"{key}.pub").exit_code != 0
    (file,) = recorded.records.rglob("*.sealed")
    content = file.read_bytes()
    end = len(content) - len(content) // 8
    file.write_bytes(content[:end])
    assert isinstance(run("read", *place, "--key", str(key)).exception, HomeError)
    erased = json.loads(run("erase", *place, "--before", "9999-01-01", "--json").stdout)
    assert erased == {"erased": [file.parent.name]}
    assert list(recorded.records.iterdir()) == []


def test_a_record_that_lost_its_end_is_told(recorded: Home, key: Path) -> None:
    from fedrisk.sealing import HEAD

    (file,) = recorded.records.rglob("*.sealed")
    content = file.read_bytes()
    file.write_bytes(content[: -HEAD.size - 16])
    done = run("read", "--home", str(recorded.root), "--key", str(key))
    assert "has no end" in done.stderr
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"record_days": 7},
        {"record_key": "auditor.key.pub"},
        {"record_key": "auditor.key", "record_days": 7},
    ],
)
def test_nothing_starts_without_a_public_key_and_a_limit(
    home: Home, key: Path, changes: dict
) -> None:
    from fedrisk.serving.assembly import make_recorder
    from fedrisk.settings import Settings

    if "record_key" in changes:
        changes = {**changes, "record_key": key.parent / changes["record_key"]}
    with pytest.raises(UsageError):
        make_recorder(home, Settings(record_share=0.1, **changes))
    assert make_recorder(home, Settings()) is None
