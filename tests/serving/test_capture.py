"""Windows leave when they hold enough rows, none is lost, and none is counted twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from postgresql import PostgreSQL, needs_postgresql, postgresql
from small_disk import mounted

from fedrisk.errors import HomeError
from fedrisk.home import Home
from fedrisk.models.checks import columns_from_rows
from fedrisk.profiles import Window
from fedrisk.profiles.store import WindowStore
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.app import create_app
from fedrisk.serving.capture import Capture, CaptureRules

from .conftest import ROW, STUDY, TestClient, fit, until

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


def test_after_the_clock_is_set_back_windows_close_again_within_their_length(
    capture, clock, sink
) -> None:
    ask(capture, 7)
    clock.forward(-60)
    turn(capture)
    assert sink.windows == []
    ask(capture, 7)
    clock.forward(15)
    turn(capture)
    (window,) = sink.windows
    assert window.profile.rows == 14
    assert window.start <= window.end <= clock.time
    ask(capture, 4)
    clock.forward(15)
    turn(capture)
    assert len(sink.windows) == 1
    ask(capture, 1)
    clock.forward(15)
    turn(capture)
    assert [each.profile.rows for each in sink.windows] == [14, 5]


def test_after_the_clock_is_set_forward_nothing_small_leaves_and_no_window_spans_the_gap(
    capture, clock, sink
) -> None:
    ask(capture, 4)
    clock.forward(60)
    turn(capture)
    assert sink.windows == []
    ask(capture, 1)
    clock.forward(15)
    turn(capture)
    assert sink.rows == 5
    clock.forward(600)
    turn(capture)
    ask(capture, 6)
    clock.forward(15)
    turn(capture)
    window = sink.windows[-1]
    assert window.profile.rows == 6
    assert window.end - window.start == RULES.length


def test_a_stop_after_the_clock_was_set_back_keeps_every_row(capture, clock, sink) -> None:
    ask(capture, 6)
    clock.forward(-60)
    capture.stop()
    assert sink.rows == 6
    assert sink.windows[0].start <= sink.windows[0].end


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without room."""
    with mounted(tmp_path / "full", "64k") as place:
        (place / "other").write_bytes(bytes(60 << 10))
        yield place


def test_a_full_disk_is_told_with_what_it_costs_and_ends_nothing(
    full_disk: Path, clock, sink, caplog
) -> None:
    capture = Capture("replica-1", sink, clock, RULES, full_disk / "waiting.json")
    ask(capture, 8)
    ask(capture, 3, SECOND)
    capture.stop()
    assert sink.rows == 8
    assert "the counts of 3 rows cannot be kept: No space left on device" in caplog.text
    assert [file.name for file in full_disk.iterdir()] == ["other"]


def test_a_waiting_file_that_cannot_be_taken_away_is_not_counted_at_each_start(
    capture, clock, sink, monkeypatch, caplog
) -> None:
    ask(capture, 3)
    capture.stop()

    def refuse(_path: Path) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    again = Capture("replica-1", sink, clock, RULES, capture.waiting_file)
    again.resume()
    ask(again, 5)
    clock.forward(15)
    turn(again)
    assert sink.rows == 5
    assert "cannot be taken up: not permitted" in caplog.text


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


def counted(server: PostgreSQL) -> list[Window]:
    store = WindowStore(server.url)
    try:
        return store.between("clinic", START - timedelta(days=1), START + timedelta(days=1))
    finally:
        store.close()


@pytest.fixture
def database(server: PostgreSQL) -> PostgreSQL:
    store = WindowStore(server.url)
    store.forget_before(START + timedelta(days=9999))
    store.close()
    return server


@needs_postgresql
def test_windows_of_replicas_merge_and_a_restart_of_postgresql_loses_nothing(
    database: PostgreSQL, home: Home, stored: StoredModel, clock: Clock, tmp_path: Path
) -> None:
    """Two replicas answer while PostgreSQL ends and comes back: no prediction fails."""
    stores = [WindowStore(database.url) for _ in range(2)]
    captures = [
        Capture(f"replica-{n}", store.add, clock, RULES, tmp_path / f"waiting-{n}.json")
        for n, store in enumerate(stores)
    ]
    asked = 0
    clients = [TestClient(create_app(home, watch_seconds=0.01, capture=c)) for c in captures]
    with clients[0] as first, clients[1] as second:

        def predict(times: int) -> None:
            nonlocal asked
            for client in (first, second):
                for _ in range(times):
                    assert client.post("/predict", json=ROW).status_code == 200
                    asked += 1

        predict(10)
        clock.forward(15)
        until(lambda: sum(w.profile.rows for w in counted(database)) == asked)
        database.stop()
        predict(10)
        clock.forward(15)
        until(lambda: all(capture.fault for capture in captures))
        assert "postgresql" in first.get("/ready").json()["capture"]["failing"]
        assert "capture_store_failing 1.0" in first.get("/metrics").text
        back = threading.Thread(target=database.start)
        back.start()
        predict(10)
        back.join()
        until(lambda: not any(capture.fault for capture in captures))
        assert "capture" not in first.get("/ready").json()
        assert "capture_store_failing 0.0" in first.get("/metrics").text
        predict(1)
    windows = counted(database)
    kept = [json.loads(c.waiting_file.read_text()) for c in captures if c.waiting_file.exists()]
    waiting = sum(each["profile"]["rows"] for file in kept for each in file["open"])
    assert sum(window.profile.rows for window in windows) + waiting == asked
    assert {window.source for window in windows} == {"replica-0", "replica-1"}
    assert min(window.profile.rows for window in windows) >= RULES.least
    merged = windows[0].profile
    for window in windows[1:]:
        merged = merged + window.profile
    assert merged.scores.sum() == asked - waiting
    for store in stores:
        store.close()


@needs_postgresql
def test_a_database_that_is_away_at_the_start_is_waited_for(
    database: PostgreSQL, clock: Clock
) -> None:
    database.stop()
    store = WindowStore(database.url)
    capture = Capture("replica-1", store.add, clock, RULES)
    for _ in range(3):
        ask(capture, 6)
        clock.forward(15)
        turn(capture)
    assert "cannot be written" in capture.fault
    database.start()
    turn(capture)
    clock.forward(15)
    turn(capture)
    assert sum(window.profile.rows for window in counted(database)) == 18
    store.close()


def test_lag_is_the_age_of_rows_that_may_leave_and_have_not(capture, clock, sink) -> None:
    assert capture.lag() == 0
    ask(capture, 4)
    clock.forward(60)
    assert capture.lag() == 0, "too few rows wait by the rules"
    ask(capture, 1)
    assert capture.lag() == 3600
    sink.away = True
    clock.forward(10)
    turn(capture)
    assert capture.lag() == 4200, "closed, and not taken"
    sink.away = False
    turn(capture)
    assert capture.lag() == 0
