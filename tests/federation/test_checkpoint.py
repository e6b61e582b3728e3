"""A checkpoint is whole or absent, whatever happens to the disk; one process alone goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_disk import mounted

from fedrisk.errors import FederationError, HomeError, SupersededError
from fedrisk.federation import checkpoint
from fedrisk.federation.checkpoint import CURRENT, FORMAT, PREVIOUS, Checkpoints

FIRST, SECOND = {"round": 1, "loss": 1 / 3}, {"round": 2, "loss": -0.0}


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    """The checkpoints of a run with two rounds."""
    checkpoints = Checkpoints.claim(tmp_path / "run-7" / "checkpoint")
    checkpoints.save(FIRST)
    checkpoints.save(SECOND)
    return checkpoints


def test_nothing_is_kept_at_first(tmp_path: Path) -> None:
    assert Checkpoints.claim(tmp_path).load() is None


def test_the_last_one_is_read_to_the_last_bit(kept: Checkpoints) -> None:
    found = kept.load()
    assert found == SECOND
    assert str(found["loss"]) == "-0.0"


def damaged(content: bytes) -> list[bytes]:
    """The file cut at every byte, and with every bit turned."""
    cut = [content[:size] for size in range(len(content))]
    turned = [
        content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
        for place in range(len(content))
        for bit in range(8)
    ]
    return [*cut, *turned]


def test_of_a_damaged_one_the_one_before_is_taken(kept: Checkpoints) -> None:
    file = kept.folder / CURRENT
    for content in damaged(file.read_bytes()):
        file.write_bytes(content)
        assert kept.load() == FIRST


def test_a_damaged_one_does_not_push_out_the_one_before(kept: Checkpoints) -> None:
    (kept.folder / CURRENT).write_bytes(b"half")
    kept.save({"round": 3})
    (kept.folder / CURRENT).write_bytes(b"half")
    assert kept.load() == FIRST


def test_a_kill_between_the_two_renames_loses_one_round_at_most(kept: Checkpoints) -> None:
    (kept.folder / CURRENT).replace(kept.folder / PREVIOUS)
    assert kept.load() == SECOND
    kept.save({"round": 3})
    assert kept.load() == {"round": 3}


def test_a_draft_that_was_left_behind_is_no_checkpoint(kept: Checkpoints) -> None:
    (kept.folder / "checkpoint.json.part").write_bytes(b"half")
    assert kept.load() == SECOND
    kept.save({"round": 3})
    assert not (kept.folder / "checkpoint.json.part").exists()


def test_when_both_are_damaged_it_is_said(kept: Checkpoints) -> None:
    for name in (CURRENT, PREVIOUS):
        (kept.folder / name).write_bytes(b"")
    with pytest.raises(FederationError, match=r"no checkpoint .* can be read .*previous.json"):
        kept.load()


def test_a_newer_format_is_refused(kept: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", FORMAT + 1)
    kept.save({"round": 3})
    monkeypatch.undo()
    with pytest.raises(FederationError, match="has format 2, this version knows 1"):
        kept.load()


def test_numbers_that_are_not_finite_are_refused_and_nothing_changes(kept: Checkpoints) -> None:
    with pytest.raises(FederationError, match="not finite"):
        kept.save({"loss": float("inf")})
    assert kept.load() == SECOND


def test_who_claimed_the_run_before_may_write_nothing(kept: Checkpoints) -> None:
    later = Checkpoints.claim(kept.folder)
    assert later.token > kept.token
    for attempt in (kept.verify, lambda: kept.save({"round": 3})):
        with pytest.raises(SupersededError, match="run run-7 was taken up by another process"):
            attempt()
    later.verify()
    assert later.load() == SECOND
    later.save({"round": 3})


def test_a_damaged_fence_lets_nobody_through(kept: Checkpoints) -> None:
    fence = kept.folder / "fence"
    for content in damaged(fence.read_bytes()):
        fence.write_bytes(content)
        with pytest.raises(HomeError, match="does not say who has taken the run up"):
            kept.save({"round": 3})
        with pytest.raises(HomeError, match="fence is damaged"):
            Checkpoints.claim(kept.folder)


def test_a_removed_fence_gives_no_token_twice(kept: Checkpoints) -> None:
    for _ in range(3):
        kept = Checkpoints.claim(kept.folder)
    kept.save({"round": 3})
    (kept.folder / "fence").unlink()
    later = Checkpoints.claim(kept.folder)
    assert later.token > kept.token
    with pytest.raises(SupersededError):
        kept.save({"round": 4})


def test_a_folder_that_is_gone_is_said(kept: Checkpoints) -> None:
    kept.folder.rename(kept.folder.parent / "elsewhere")
    with pytest.raises(HomeError, match="cannot be written: No such file"):
        kept.save({"round": 3})


def test_a_lock_that_is_held_too_long_is_said(
    kept: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedrisk.home.LOCK_SECONDS", 0.05)
    with kept.fenced(), pytest.raises(FederationError, match="another process"):
        kept.save({"round": 3})


def test_nobody_takes_a_run_up_while_something_of_it_is_written(
    kept: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedrisk.home.LOCK_SECONDS", 0.05)
    with kept.fenced(), pytest.raises(FederationError, match="another process"):
        Checkpoints.claim(kept.folder)
    later = Checkpoints.claim(kept.folder)
    with pytest.raises(SupersededError), kept.fenced():
        pytest.fail("an older process wrote")
    with later.fenced():
        pass


def test_an_error_of_what_is_written_behind_the_fence_is_its_own(kept: Checkpoints) -> None:
    with pytest.raises(OSError, match="elsewhere"), kept.fenced():
        raise OSError(28, "elsewhere")


@pytest.mark.parametrize("where", ["fsync", "write", "rename"])
def test_a_write_that_fails_anywhere_leaves_what_was_there(
    kept: Checkpoints, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if where == "fsync":
            patch.setattr(os, "fsync", full)
        elif where == "rename":
            patch.setattr(Path, "replace", full)
        else:
            patch.setattr(checkpoint, "write_draft", full)
        with pytest.raises(HomeError, match="cannot be written: No space left") as told:
            kept.save({"round": 3})
    assert "make room" in told.value.hint
    assert kept.load() == SECOND
    kept.save({"round": 3})
    assert kept.load() == {"round": 3}


FULL = """
import resource, sys
from pathlib import Path
from fedrisk.errors import HomeError
from fedrisk.federation.checkpoint import Checkpoints
checkpoints = Checkpoints.claim(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    checkpoints.save({"round": 3, "much": "x" * 100_000})
except HomeError as error:
    print(error.message)
"""


@pytest.mark.parametrize("room", [0, 1, 4096, 100_000])
def test_a_disk_that_is_full_leaves_what_was_there(kept: Checkpoints, room: int) -> None:
    command = [sys.executable, "-c", FULL, str(kept.folder), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "cannot be written: File too large" in done.stdout
    assert sorted(file.name for file in kept.folder.iterdir()) == [
        CURRENT,
        "fence",
        "lock",
        PREVIOUS,
    ]
    again = Checkpoints.claim(kept.folder)
    assert again.load() == SECOND
    again.save({"round": 3})
    assert again.load() == {"round": 3}


def test_a_small_disk_that_fills_up_leaves_what_was_there(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "64k") as place:
        checkpoints = Checkpoints.claim(place)
        checkpoints.save({"round": 1, "much": "x" * 20_000})
        checkpoints.save({"round": 2, "much": "x" * 20_000})
        with pytest.raises(HomeError, match="No space left on device"):
            checkpoints.save({"round": 3, "much": "x" * 60_000})
        assert checkpoints.load() == {"round": 2, "much": "x" * 20_000}
        again = Checkpoints.claim(place)
        again.save({"round": 99})
        assert again.load() == {"round": 99}


RACE = """
import sys, time
from pathlib import Path
from fedrisk.errors import SupersededError
from fedrisk.federation.checkpoint import Checkpoints
folder, name, racers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
checkpoints = Checkpoints.claim(folder)
(folder / f"ready-{name}").touch()
while len(list(folder.glob("ready-*"))) < racers:
    time.sleep(0.001)
try:
    for number in range(40):
        checkpoints.save({"round": number, "by": checkpoints.token})
except SupersededError:
    print("superseded", checkpoints.token)
else:
    print("finished", checkpoints.token)
"""


def test_of_processes_that_race_exactly_one_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    racing = [
        subprocess.Popen([*command, str(number), "3"], stdout=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    told = [process.communicate(timeout=120)[0].split() for process in racing]
    assert sorted(told) == [["finished", "3"], ["superseded", "1"], ["superseded", "2"]]
    assert Checkpoints.claim(tmp_path).load() == {"round": 39, "by": 3}
