"""Studies that came with what was asked go once they are old."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fedrisk.home import Home
from fedrisk.retraining.asked_studies import forget_studies, keep_study

NOW = datetime(2026, 1, 5, 7, tzinfo=UTC)


def test_old_ones_go_and_the_others_stay(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert forget_studies(home, NOW) == []
    for name, days in {"old": 3, "new": 1}.items():
        file = keep_study(home, name, 'name = "clinic"\n')
        at = (NOW - timedelta(days=days)).timestamp()
        os.utime(file, (at, at))
    assert forget_studies(home, NOW - timedelta(days=2)) == ["old"]
    assert [each.read_text() for each in file.parent.iterdir()] == ['name = "clinic"\n']
