"""Windows leave when they hold enough rows, none is lost, and none is counted twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from fedrisk.errors import HomeError
from fedrisk.models.checks import columns_from_rows
from fedrisk.profiles import Window
from fedrisk.profiles.store import WindowStore
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.capture import Capture, CaptureRules

from .conftest import ROW, STUDY, fit

START = datetime(2026, 3, 1, 10, 7, tzinfo=UTC)
RULES = CaptureRules(length=timedelta(minutes=15), least=5)


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def forward(self, minutes: float) -> None:
        self.time += timedelta(minutes=minutes)


class Sink:
    """Takes windows, or fails."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self.away = False

    def __call__(self, windows: list[Window]) -> None:
        if self.away:
            raise HomeError("the store is away")
        self.windows += windows

    @property
    def rows(self) -> float:
        return sum(window.profile.rows for window in self.windows)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def capture(clock: Clock, sink: Sink, tmp_path: Path) -> Capture:
    return Capture("replica-1", sink, clock, RULES, tmp_path / "capture" / "waiting.json")


MODEL, BINS = fit()


def version(number: str) -> StoredModel:
    return StoredModel("clinic", number, f"run{number}", MODEL, BINS, [], "digest")


FIRST, SECOND = version("1"), version("2")


def ask(capture: Capture, times: int, stored: StoredModel = FIRST) -> None:
    for _ in range(times):
        capture.count_row(stored, ROW, 0.2)


def turn(capture: Capture) -> None:
    capture.close_due()
    capture.flush()


def test_a_window_leaves_at_its_end_and_not_before(capture, clock, sink) -> None:
    ask(capture, 7)
    clock.forward(7.9)
    turn(capture)
    assert sink.windows == []
    clock.forward(0.1)
    turn(capture)
    (window,) = sink.windows
    assert (window.start, window.end) == (START, datetime(2026, 3, 1, 10, 15, tzinfo=UTC))
    assert (window.model, window.version, window.source) == ("clinic", "1", "replica-1")
    assert window.profile.rows == 7
    assert window.profile.scores.sum() == 7


def test_a_small_window_waits_and_merges_with_the_next(capture, clock, sink) -> None:
    ask(capture, 4)
    clock.forward(10)
    turn(capture)
    assert sink.windows == []
    ask(capture, 1)
    clock.forward(15)
    turn(capture)
    (window,) = sink.windows
    assert window.profile.rows == 5
    assert window.start == START


def test_rows_in_arrays_count_like_single_ones(capture, clock, sink) -> None:
    capture.count_columns(FIRST, columns_from_rows(STUDY, [ROW] * 5), np.full(5, 0.2))
    clock.forward(15)
    turn(capture)
    single = Capture("r", sink, clock, RULES)
    ask(single, 5)
    clock.forward(15)
    turn(single)
    first, second = sink.windows
    assert first.profile.document() == second.profile.document()


def test_versions_are_counted_apart_and_a_former_one_still_leaves(capture, clock, sink) -> None:
    ask(capture, 6)
    ask(capture, 8, SECOND)
    ask(capture, 1, FIRST)
    clock.forward(15)
    turn(capture)
    assert {w.version: w.profile.rows for w in sink.windows} == {"1": 7, "2": 8}


def test_nothing_is_lost_while_the_store_is_away(capture, clock, sink) -> None:
    sink.away = True
    for _ in range(10):
        ask(capture, 6)
        clock.forward(15)
        turn(capture)
    assert "away" in capture.fault
    assert len(capture.closed) == 1
    sink.away = False
    turn(capture)
    clock.forward(15)
    turn(capture)
    assert capture.fault == ""
    assert sink.rows == 60


def test_a_graceful_stop_keeps_what_may_not_leave_for_the_next_start(
    capture, clock, sink, tmp_path
) -> None:
    ask(capture, 3)
    capture.stop()
    assert sink.windows == []
    again = Capture("replica-1", sink, clock, RULES, capture.waiting_file)
    again.resume()
    assert not capture.waiting_file.exists()
    ask(again, 2)
    clock.forward(15)
    turn(again)
    (window,) = sink.windows
    assert window.profile.rows == 5
    assert window.start == START


def test_a_stop_while_the_store_is_away_keeps_closed_windows_under_their_ids(
    capture, clock, sink
) -> None:
    sink.away = True
    ask(capture, 9)
    capture.stop()
    again = Capture("replica-1", sink, clock, RULES, capture.waiting_file)
    again.resume()
    sink.away = False
    again.flush()
    assert sink.rows == 9
    assert sink.windows[0].source == "replica-1"


def test_a_damaged_waiting_file_is_set_aside(capture, sink, clock) -> None:
    file = capture.waiting_file
    file.parent.mkdir()
    file.write_text('{"open": [')
    capture.resume()
    assert file.with_suffix(".damaged").exists()
    ask(capture, 5)
    clock.forward(15)
    turn(capture)
    assert sink.rows == 5


def test_the_waiting_file_is_for_its_owner_alone(capture) -> None:
    ask(capture, 1)
    capture.stop()
    assert capture.waiting_file.stat().st_mode & 0o077 == 0


def test_windows_reach_a_database_once(capture, clock, tmp_path) -> None:
    store = WindowStore(f"sqlite:///{tmp_path / 'state.db'}")
    capture.sink = store.add
    ask(capture, 5)
    clock.forward(15)
    capture.close_due()
    twice = list(capture.closed)
    capture.flush()
    assert store.add(twice) == 0
    (found,) = store.between("clinic", START, clock.time)
    assert found.profile.document() == twice[0].profile.document()
    assert store.forget_before(clock.time + timedelta(days=1)) == 1
    store.close()
