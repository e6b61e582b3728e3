"""SIGTERM to a simulation and to all that it started, as a job scheduler sends it."""

from __future__ import annotations

import os
import signal
import subprocess
from datetime import date
from pathlib import Path

import pytest

from fedrisk.simulation import write_cohort
from tests.running import COMMAND, environment, processes_of, wait_until

pytestmark = pytest.mark.federation


def test_sigterm_to_its_group_ends_a_simulation_without_a_trace(tmp_path: Path) -> None:
    files = write_cohort(tmp_path / "rows", 2, 60, 60, 1, date(2025, 1, 1), force=True)
    sites = [word for name, file in files.items() for word in ("--site", f"{name}={file}")]
    said, home = tmp_path / "said", tmp_path / "home"
    words = ("train", "--study", "air-wearables", "--engine", "simulation", "--home", str(home))
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *words, *sites],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(),
            start_new_session=True,
        )
        try:
            assert wait_until(lambda: "round  1" in said.read_text(), 300), said.read_text()
        finally:
            os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    text = said.read_text()
    assert "terminated; take the run up with --resume" in text
    for noise in ("Traceback", "SIGTERM received", "ray"):
        assert noise not in text
    assert wait_until(lambda: not processes_of(home), 30)
