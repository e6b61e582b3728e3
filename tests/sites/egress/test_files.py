"""No crash, full disk or second process breaks the log, or lets out what it does not hold."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from egress_history import ENTRIES, MEMORY, history, log_in, receipt_for, restore
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.attestation import Head
from fedrisk.errors import SiteFolderError
from fedrisk.sites.egress.log import EgressLog


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        yield Path(place) / "egress"


# A crash at any point.


def goes_on(log: EgressLog, kept: list[Head]) -> None:
    entries = log.verify(kept)
    head = log.append("later", {"bytes": 1})
    assert head.sequence in (len(entries) + 1, len(kept) + 1)
    assert len(log.verify([*kept, head])) == head.sequence
    log.take(receipt_for(head))
    log.verify()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_crash_between_any_two_bytes_loses_no_answer(folder: Path, data: st.DataObject) -> None:
    """In the order of writing: the log's line, the head aside, the head, the mark."""
    number = data.draw(st.integers(1, ENTRIES - 1))
    (before, _), (after, _) = history()[number - 1], history()[number]
    heads = [head for _, head in history()[:number]]
    state = dict(before) | {"receipts.jsonl": after["receipts.jsonl"]}
    step = data.draw(st.sampled_from(["line", "aside", "head", "mark aside", "receipt"]))
    if step == "receipt":
        cut = len(before.get("receipts.jsonl", b""))
        place = data.draw(st.integers(cut, len(after["receipts.jsonl"])))
        state["receipts.jsonl"] = after["receipts.jsonl"][:place]
    elif step == "line":
        place = data.draw(st.integers(len(before["log.jsonl"]), len(after["log.jsonl"])))
        state["log.jsonl"] = after["log.jsonl"][:place]
    else:
        state["log.jsonl"] = after["log.jsonl"]
    if step == "aside":
        place = data.draw(st.integers(0, len(after["head.json"])))
        state["head.json.part"] = after["head.json"][:place]
    if step in ("head", "mark aside"):
        state["head.json"] = after["head.json"]
        heads.append(history()[number][1])
    if step == "mark aside":
        place = data.draw(st.integers(0, len(after["mark.json"])))
        state["mark.json.part"] = after["mark.json"][:place]
    goes_on(restore(folder, state), heads)


@pytest.mark.parametrize("place", [0, 1, 40])
def test_a_crash_in_the_first_entry_goes_on(folder: Path, place: int) -> None:
    first = history()[0][0]["log.jsonl"]
    goes_on(restore(folder, {"log.jsonl": first[:place]}), [])
    log = restore(folder, {"log.jsonl": first})
    assert log.append("t", {}).sequence == 2


_APPENDING = """
import sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fedrisk.sites.egress.log import EgressLog
log = EgressLog(Path(sys.argv[1]), "north", Ed25519PrivateKey.from_private_bytes(b"s" * 32))
while True:
    print(log.append("t", {"bytes": 1}).sequence, flush=True)
"""


def test_killed_while_appending_again_and_again_it_keeps_every_answer(tmp_path: Path) -> None:
    answered = 0
    for trial in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", _APPENDING, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3 + trial):
            answered = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate(timeout=10)
        answered = max([answered, *map(int, rest.split("\n")[:-1])])
        entries = log_in(tmp_path).verify()
        assert len(entries) >= answered
    assert answered >= 15


# A full disk.

_FILLING = """
import resource, sys
from datetime import datetime, UTC
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
import numpy as np
from fedrisk.errors import SiteFolderError
from fedrisk.models.descent import LocalUpdate
from fedrisk.sites.egress.gate import Errand, release
from fedrisk.sites.egress.log import EgressLog
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
log = EgressLog(folder / "egress", "north", Ed25519PrivateKey.from_private_bytes(b"s" * 32))
errand = Errand(log, datetime(2026, 1, 1, tzinfo=UTC))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
else:
    (folder / "ballast").write_bytes(bytes(16384))
left = refused = 0
while refused < 6:
    try:
        release([LocalUpdate(np.zeros(3))], {"parameters": 3}, errand)
        assert not refused, "something left on a full disk"
        left += 1
    except SiteFolderError as error:
        assert "cannot be read or written" in error.message, error
        refused += 1
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
else:
    (folder / "ballast").unlink()
head = release([LocalUpdate(np.zeros(3))], {"parameters": 3}, errand).head
print(left, len(log.verify([head])))
"""


def told_by(command: list[str]) -> tuple[int, int]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    left, entries = done.stdout.split()
    return int(left), int(entries)


@pytest.mark.parametrize("limit", [2000, 3000, 5001])
def test_nothing_leaves_when_a_file_may_not_grow(tmp_path: Path, limit: int) -> None:
    left, entries = told_by([sys.executable, "-c", _FILLING, str(tmp_path), str(limit)])
    assert left >= 2
    # An entry that was written and not signed stays: the log may say more than left, never less.
    assert left + 1 <= entries <= left + 2


def test_nothing_leaves_on_a_full_disk_and_it_goes_on_with_space(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=64k tmpfs "$1" && exec "$2" -c "$3" "$1" 0'
    space = ["unshare", "--mount", "sh", "-c", mount, "sh", str(tmp_path), sys.executable]
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    left, entries = told_by([*space, _FILLING])
    assert left > 20
    assert left + 1 <= entries <= left + 2


# Several processes.


def _append_many(folder: str, results: multiprocessing.SimpleQueue[list[int]]) -> None:
    log = log_in(Path(folder))
    results.put([log.append("t", {"process": os.getpid()}).sequence for _ in range(40)])


def test_two_processes_at_once_keep_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn" if sys.platform == "darwin" else "fork")
    results = context.SimpleQueue()
    both = [context.Process(target=_append_many, args=(str(tmp_path), results)) for _ in range(2)]
    for process in both:
        process.start()
    sequences = results.get() + results.get()
    for process in both:
        process.join(20)
    assert sorted(sequences) == list(range(1, 81))
    entries = log_in(tmp_path).verify()
    assert len({entry["process"] for entry in entries}) == 2


def test_a_lock_that_is_never_given_back_is_not_waited_for_without_end(tmp_path: Path) -> None:
    log = log_in(tmp_path, patience=0.05)
    log.append("t", {})
    with (tmp_path / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for look in (log.verify, lambda: log.take(""), lambda: log.append("t", {})):
            with pytest.raises(SiteFolderError, match=r"held this lock for 0.05 s"):
                look()
    assert log.append("t", {}).sequence == 2


def test_file_size_limit_is_a_signal_that_python_ignores() -> None:
    """Else the children above would be killed instead of being told."""
    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN
    assert resource.RLIMIT_FSIZE


def test_a_head_that_cannot_be_written_several_times_is_no_tampering(tmp_path: Path) -> None:
    """The line may fit on a full disk where the head does not."""
    log = log_in(tmp_path)
    log.append("t", {})
    (tmp_path / "head.json.part").mkdir()
    for _ in range(3):
        with pytest.raises(SiteFolderError, match="cannot be read or written"):
            log.append("t", {})
    (tmp_path / "head.json.part").rmdir()
    assert len(log.verify([log.append("t", {})])) == 3
