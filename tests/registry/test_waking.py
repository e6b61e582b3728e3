"""A call ends the pause, also one that came while nobody waited."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedrisk.registry.waking import Waiting, wake


class Time:
    """A clock that only sleep moves; ``at`` says what happens meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.at: dict[float, object] = {}

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for moment in sorted(each for each in self.at if each <= self.now):
            self.at.pop(moment)()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "follower.wake"


def waiting(file: Path, time: Time) -> Waiting:
    return Waiting(file, time.sleep, lambda: time.now)


def test_without_a_call_the_pause_is_as_long_as_asked(file: Path) -> None:
    time = Time()
    waiting(file, time)(5)
    assert time.now == pytest.approx(5)


def test_a_call_ends_the_pause(file: Path) -> None:
    time = Time()
    time.at[2] = lambda: wake(file)
    pause = waiting(file, time)
    pause(60)
    assert 2 <= time.now < 2.2
    pause(5)
    assert time.now >= 7


def test_a_call_while_nobody_waits_is_not_lost(file: Path) -> None:
    time = Time()
    wake(file)
    pause = waiting(file, time)
    pause(5)
    assert time.now == pytest.approx(5)  # it came before the follower began: its first look was new
    wake(file)
    wake(file)
    pause(5)
    assert time.now == pytest.approx(5)
    assert [each.name for each in file.parent.iterdir()] == [file.name]
