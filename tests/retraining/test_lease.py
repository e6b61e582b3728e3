"""Leases: one holder of a machine, one after the other, and a holder that died stops nobody."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from retraining.worlds import SCOPE, START

from fedrisk.errors import RetrainingError
from fedrisk.retraining.lease import Renewal, held
from fedrisk.retraining.loop_store import LoopStore

HOLD = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from fedrisk.retraining.lease import held
from fedrisk.retraining.loop_store import LoopStore
home = Path(sys.argv[1])
with held(LoopStore(f"sqlite:///{home}/state.db"), "air", home, lambda: datetime.now(UTC)) as lease:
    print(lease.fence, flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def _now():
    return datetime.now(UTC)


@pytest.fixture
def store(tmp_path):
    store = LoopStore(f"sqlite:///{tmp_path}/state.db")
    yield store
    store.close()


def _process(home, how):
    command = [sys.executable, "-c", HOLD, str(home), how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_killed_holder_is_followed_at_once_under_a_higher_token(store, tmp_path):
    with _process(tmp_path, "die") as process:
        first = int(process.stdout.readline())
        assert process.wait() == -9
    with held(store, SCOPE, tmp_path, _now) as lease:
        assert lease.fence == first + 1


def test_a_holder_that_lives_keeps_others_out(store, tmp_path):
    with _process(tmp_path, "live") as process:
        process.stdout.readline()
        with pytest.raises(RetrainingError, match="lock"), held(store, SCOPE, tmp_path, _now):
            pass
        process.stdin.close()
        assert process.wait() == 0
    with held(store, SCOPE, tmp_path, _now):
        pass


def test_a_holder_of_another_machine_keeps_others_out_until_its_lease_ends(store, tmp_path):
    store.take(SCOPE, "far:/home:1", START, 60.0)
    with pytest.raises(RetrainingError, match="far"), held(store, SCOPE, tmp_path, lambda: START):
        pass
    late = START + timedelta(seconds=61)
    with held(store, SCOPE, tmp_path, lambda: late) as lease:
        assert lease.fence == 2


def test_a_lease_is_renewed_beside_the_work(store):
    lease = store.take(SCOPE, "here:1", START, 60.0)
    late = START + timedelta(seconds=90)
    renewed = threading.Event()

    def clock():
        renewed.set()
        return late

    renewal = Renewal(store, lease, clock, 0.03)
    renewal.start()
    assert renewed.wait(10)
    renewal.stop()
    with pytest.raises(RetrainingError, match="here:1"):
        store.take(SCOPE, "far:1", START + timedelta(seconds=89), 60.0)
