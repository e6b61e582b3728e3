"""The world changes, and the loop answers: a new champion, and nobody's request fails meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from running import processes_of, wait_until

from .retraining_world import (
    ready,
    retrain,
    served_under_load,
    sign,
    train_champion,
    write_changing,
)

pytestmark = [
    pytest.mark.federation,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def test_a_changed_concept_ends_with_a_new_champion_and_no_failed_request(tmp_path: Path) -> None:
    files = write_changing(tmp_path / "cohort", "concept-change", size=6.0)
    home = train_champion(tmp_path, files)
    keys = sign(home, tmp_path)
    with served_under_load(home) as load:
        words = ["--trigger", "drift", "--engine", "local", "--server", load.url, "--wait", "90"]
        told = retrain(home, files, "2025-09-01", *words, FEDRISK_PLAN_KEYS=keys)
        assert told["state"] == "promoted", told["reason"]
        assert wait_until(lambda: ready(load.url)["model"]["version"] == "2", 30)
        assert wait_until(lambda: load.versions["2"] > 100, 30)
        assert "challenger" not in ready(load.url)
    assert (told["champion"], told["released"]) == ("2", True)
    assert told["verdict"]["verdict"] == "harm"
    assert told["decision"]["action"] == "retrain"
    assert told["gate"]["verdict"] == "pass"
    assert set(load.statuses) == {200}
    assert load.versions["1"] > 0
    assert wait_until(lambda: not processes_of(home.root), 25), processes_of(home.root)
