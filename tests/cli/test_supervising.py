"""What both `start` commands share: a folder held by one, a signal that ends in order."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fedrisk.cli.supervising import supervising
from fedrisk.errors import HomeError
from fedrisk.federation.provisioning.folders import hold_folder, is_held


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_the_end_and_the_folder_is_free_after_it(
    tmp_path: Path, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDRISK_FLOWER_START", "stock")
    former = signal.getsignal(sent)
    with supervising(hold_folder(tmp_path, "this site")) as given:
        assert (given.resident, is_held(tmp_path)) == (False, True)
        os.kill(os.getpid(), sent)
        assert given.stop.wait(20)
        assert given.environment["FEDRISK_FLOWER_START"] == "stock"
    assert not is_held(tmp_path)
    assert signal.getsignal(sent) is former


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    with (
        supervising(hold_folder(tmp_path, "this site")),
        pytest.raises(HomeError, match="another process runs this site"),
        supervising(hold_folder(tmp_path, "this site")),
    ):
        pass
