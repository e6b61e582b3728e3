"""The main job for real: Flower's processes, MLflow, the API; and what is left when it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from running import environment, processes_of, start, wait_until

from fedrisk.models.checks import columns_from_rows
from fedrisk.registry.cache import read_model

pytestmark = [
    pytest.mark.federation,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def rounds_done(home: Path) -> int:
    return sum(len(file.read_text().splitlines()) for file in home.glob("runs/*/progress.jsonl"))


def test_up_ends_with_an_address_that_answers(tmp_path: Path, flags: list[str]) -> None:
    home = tmp_path / "home"
    command = start("up", *flags, "--home", str(home), "--port", "0")
    shown = ""
    for line in command.stdout:
        shown += line
        if "end with Ctrl-C" in line:
            break
    curl = re.search(r"curl -s (\S+) -H '(.+?): (.+?)' -d '(.+)'", shown)
    assert curl, shown + command.stderr.read()
    address, header, kind, body = curl.groups()
    request = urllib.request.Request(address, body.encode(), {header: kind})
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.load(response)

    stored = read_model(home / "models" / "champion")
    columns = columns_from_rows(stored.model.study, [json.loads(body)])
    assert answer["risk_score"] == pytest.approx(float(stored.model.risk(columns)[0]), abs=1e-9)
    assert answer["model"] == {"name": "air-wearables", "version": "1"}

    command.send_signal(signal.SIGINT)
    _, complaint = command.communicate(timeout=30)
    assert command.returncode == 0, complaint
    assert wait_until(lambda: not processes_of(home), 15), processes_of(home)


def test_second_run_becomes_challenger_and_drops_processes(
    tmp_path: Path, flags: list[str]
) -> None:
    home = tmp_path / "home"
    told = []
    for _ in range(2):
        command = start("train", *flags, "--home", str(home), "--json")
        out, complaint = command.communicate(timeout=300)
        assert command.returncode == 0, complaint
        assert not processes_of(home)
        told.append(json.loads(out))
    assert [run["alias"] for run in told] == ["champion", "challenger"]
    assert [run["model_version"] for run in told] == ["1", "2"]
    assert told[0]["metrics"] == told[1]["metrics"]
    assert set(told[0]["sites"]) == {"site-1", "site-2"}


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_interrupted_run_leaves_nothing(tmp_path: Path, flags: list[str], name: str) -> None:
    home = tmp_path / "home"
    command = start("train", *flags, "--home", str(home))
    assert wait_until(lambda: rounds_done(home) >= 2, 180), command.stderr
    command.send_signal(getattr(signal, name))
    out, complaint = command.communicate(timeout=40)
    assert command.returncode != 0
    assert "Traceback" not in out + complaint
    assert wait_until(lambda: not processes_of(home), 25), processes_of(home)
    assert not (home / "models" / "champion").exists()
    listed = subprocess.run(
        [sys.executable, "-m", "fedrisk", "models", "--home", str(home), "--json"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert '"version"' not in listed.stdout


def test_resident_and_stock_start_give_the_same_model(tmp_path: Path, flags: list[str]) -> None:
    coefficients = []
    for way in ("resident", "stock"):
        home = tmp_path / way
        command = start("train", *flags, "--home", str(home), FEDRISK_FLOWER_START=way)
        _, complaint = command.communicate(timeout=400)
        assert command.returncode == 0, complaint
        coefficients.append(read_model(home / "models" / "champion").model.coefficients.tolist())
    assert coefficients[0] == coefficients[1]


def test_local_and_simulation_engines_give_the_same_model(tmp_path: Path, flags: list[str]) -> None:
    coefficients = []
    for engine in ("local", "simulation"):
        home = tmp_path / engine
        command = start("train", *flags, "--home", str(home), "--engine", engine)
        _, complaint = command.communicate(timeout=300)
        assert command.returncode == 0, complaint
        coefficients.append(read_model(home / "models" / "champion").model.coefficients.tolist())
    assert coefficients[0] == pytest.approx(coefficients[1], abs=1e-12)
