"""Folders of looks for drift go once they are old; those of trainings stay."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fedrisk.home import Home
from fedrisk.retraining.drift_runs import KEPT, forget_drift_runs

NOW = datetime(2026, 1, 5, 7, tzinfo=UTC)


def test_old_ones_go_and_nothing_else(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert forget_drift_runs(home, NOW) == []
    ages = {"drift-old": KEPT * 2, "drift-new": timedelta(days=1), "20250101T000000-a": KEPT * 9}
    ages["drift-at-work"] = KEPT * 2
    for name, age in ages.items():
        home.run(name).mkdir(parents=True)
        at = (NOW - age).timestamp()
        for each in (home.run(name) / "result.json", home.run(name)):
            if each.suffix:
                each.touch()
            os.utime(each, (at, at))
    now = NOW.timestamp()
    os.utime(home.run("drift-at-work") / "result.json", (now, now))
    assert forget_drift_runs(home, NOW) == ["drift-old"]
    left = {each.name for each in (tmp_path / "runs").iterdir()}
    assert left == {"drift-new", "20250101T000000-a", "drift-at-work"}
