"""A local run whose command was killed is taken up, and brings the same model to the last bit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from running import processes_of, start, wait_until

from fedrisk.registry.cache import read_model

pytestmark = [
    pytest.mark.federation,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def rounds_of(home: Path) -> list[int]:
    files = home.glob("runs/*/progress.jsonl")
    return [json.loads(line)["number"] for file in files for line in file.read_text().splitlines()]


def test_killed_and_taken_up(tmp_path: Path, flags: list[str]) -> None:
    whole = tmp_path / "whole"
    command = start("train", *flags, "--home", str(whole))
    _, complaint = command.communicate(timeout=300)
    assert command.returncode == 0, complaint

    home = tmp_path / "home"
    command = start("train", *flags, "--home", str(home))
    assert wait_until(lambda: len(rounds_of(home)) >= 3, 180)
    command.kill()
    command.communicate(timeout=40)
    done = len(rounds_of(home))
    assert done < len(rounds_of(whole))
    (run,) = (path.name for path in (home / "runs").iterdir())

    study = flags.index("--study")
    sites = flags[:study] + flags[study + 2 :]
    command = start("train", *sites, "--home", str(home), "--resume", run, "--json")
    out, complaint = command.communicate(timeout=300)
    assert command.returncode == 0, complaint
    assert json.loads(out)["run_id"] == run
    assert rounds_of(home) == rounds_of(whole)
    models = [read_model(place / "models" / "champion").model for place in (whole, home)]
    assert models[0].coefficients.tolist() == models[1].coefficients.tolist()
    assert models[0].intercept == models[1].intercept
    assert models[0].covariance.tolist() == models[1].covariance.tolist()
    assert wait_until(lambda: not processes_of(home), 25), processes_of(home)
