"""Requests at the same time, over worker processes that come, go, and are killed."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import HomeError, RateLimitError
from fedrisk.serving.access import running as module
from fedrisk.serving.access.keys import make_key
from fedrisk.serving.access.running import Running

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = make_key("app", ["predict"], NOW)[0]
OTHER = make_key("other", ["predict"], NOW)[0]
#: A worker that enters so many requests, says so, and waits for ever.
WORKER = """
import sys, time
from pathlib import Path
from fedrisk.serving.access.keys import Key
from fedrisk.serving.access.running import Running
key = Key(sys.argv[2], "app", "", ("predict",), "")
running = Running(Path(sys.argv[1]), time.monotonic)
for _ in range(int(sys.argv[3])):
    running.enter(key, 99)
print("entered", flush=True)
sys.stdin.read()
"""


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def worker(folder: Path, count: int) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), KEY.id, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "entered\n"
    return started


def allowed(running: Running, limit: int) -> bool:
    try:
        running.enter(KEY, limit)
    except RateLimitError:
        return False
    return True


def test_workers_count_together_and_a_killed_one_leaves_nothing(tmp_path: Path) -> None:
    clock = Clock()
    with Running(tmp_path, clock) as running, worker(tmp_path, 3) as other:
        assert allowed(running, 4)
        assert not allowed(running, 4)
        clock.seconds += 1
        assert not allowed(running, 4)  # it looked, and the other lives
        other.kill()
        other.wait()
        assert not allowed(running, 4)  # it looked a moment ago
        clock.seconds += module.LOOK_SECONDS
        assert [allowed(running, 4) for _ in range(4)] == [True, True, True, False]


def test_who_takes_a_dead_workers_place_begins_from_nothing(tmp_path: Path) -> None:
    with worker(tmp_path, 5) as dead:
        dead.kill()
        dead.wait()
    with Running(tmp_path, Clock()) as running:
        assert running._column == 0
        assert [allowed(running, 2) for _ in range(3)] == [True, True, False]


def test_one_that_ends_gives_back_what_it_had(tmp_path: Path) -> None:
    with Running(tmp_path, Clock()) as running:
        with Running(tmp_path, Clock()) as other:
            other.enter(KEY, 1)
            assert not allowed(running, 1)
        assert allowed(running, 1)


def test_keys_do_not_take_from_each_other(tmp_path: Path) -> None:
    with Running(tmp_path, Clock()) as running:
        running.enter(KEY, 1)
        running.enter(OTHER, 1)
        assert not allowed(running, 1)


def test_a_refused_request_is_not_counted(tmp_path: Path) -> None:
    with Running(tmp_path, Clock()) as running:
        place = running.enter(KEY, 1)
        for _ in range(100):
            assert not allowed(running, 1)
        running.leave(place)
        assert allowed(running, 1)


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60))
def test_never_more_than_the_limit_and_always_as_many(tmp_path_factory, limit, steps) -> None:
    folder = tmp_path_factory.mktemp("running")
    processes = [Running(folder, Clock()) for _ in range(3)]
    inside: list[list[int]] = [[], [], []]
    try:
        for number, coming in steps:
            if coming:
                free = sum(map(len, inside)) < limit
                try:
                    inside[number].append(processes[number].enter(KEY, limit))
                    assert free
                except RateLimitError:
                    assert not free
            elif inside[number]:
                processes[number].leave(inside[number].pop())
    finally:
        for process in processes:
            process.close()


def test_threads_never_have_more_at_once(tmp_path: Path) -> None:
    most, inside, lock = [0], [0], threading.Lock()

    def ask(running: Running) -> None:
        for _ in range(300):
            try:
                place = running.enter(KEY, 2)
            except RateLimitError:
                continue
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            with lock:
                inside[0] -= 1
            running.leave(place)

    with Running(tmp_path, Clock()) as one, Running(tmp_path, Clock()) as two:
        work = [threading.Thread(target=ask, args=(each,)) for each in (one, one, two, two)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        assert one._count(module._place(KEY.id)) == 0
    assert 1 <= most[0] <= 2


def test_more_processes_than_columns_are_refused(tmp_path: Path) -> None:
    with ExitStack() as locks:
        for column in range(module.COLUMNS):
            lock = locks.enter_context((tmp_path / f"column-{column}").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(HomeError, match="64 processes"):
            Running(tmp_path, Clock())
