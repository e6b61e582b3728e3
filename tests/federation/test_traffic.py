"""Who came through the gateway: kept over a restart, and never a reason to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedrisk.federation.traffic import STRANGER, Traffic


def test_it_outlives_a_restart(tmp_path: Path) -> None:
    traffic = Traffic()
    traffic.admitted("north", 12.5)
    traffic.turned_away("")
    traffic.turned_away("south")
    traffic.write(tmp_path)
    found = Traffic.read(tmp_path)
    assert found == traffic
    assert (found.seen, found.refused) == ({"north": 12.5}, {STRANGER: 1, "south": 1})


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"seen": {"a": "b"}, "refused": {}}'])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "traffic.json").write_text(text)
    assert Traffic.read(tmp_path) == Traffic()


def test_a_folder_that_takes_nothing_keeps_no_call_out(tmp_path: Path) -> None:
    Traffic().write(tmp_path / "gone")
