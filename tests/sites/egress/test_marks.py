"""A mark saves reading the log again, and never hides a change."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from egress_history import ENTRIES, MEMORY, SITE, fields, found, last, log_in, receipt_for, restore
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.attestation import canonical, sign_head
from fedrisk.sites.egress.chain import GENESIS, entry_hash
from fedrisk.sites.egress.log import EgressLog


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        yield Path(place) / "egress"


def test_a_mark_is_no_evidence_without_the_key(folder: Path) -> None:
    """Whoever edits the log cannot make it look untouched."""
    log = restore(folder, last())
    log.take("")
    content = last()["log.jsonl"]
    (folder / "log.jsonl").write_bytes(content.replace(b'"bytes":8', b'"bytes":9'))
    mark = json.loads((folder / "mark.json").read_bytes())
    state = (folder / "log.jsonl").stat()
    mark["stamps"][0] = [state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
    (folder / "mark.json").write_bytes(canonical(mark))
    found(log, "entry 1 was changed")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_damaged_mark_costs_a_full_check_and_nothing_else(
    folder: Path, data: st.DataObject
) -> None:
    files = last()
    content = bytearray(files["mark.json"])
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    log = restore(folder, files | {"mark.json": bytes(content)})
    log.take("")
    assert len(log.verify()) == ENTRIES


def next_tick(folder: Path) -> None:
    """Wait for the file system's clock to go on: milliseconds."""
    newest = max(file.stat().st_ctime_ns for file in folder.iterdir())
    probe = folder.parent / "probe"
    probe.touch()
    while probe.stat().st_ctime_ns <= newest:
        time.sleep(0.001)
        probe.touch()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("log.jsonl", b'"bytes":8', b'"bytes":9'),
        ("head.json", b"north", b"south"),
        ("receipts.jsonl", b"2026", b"2027"),
    ],
)
def test_an_edit_while_running_stops_the_next_answer(
    tmp_path: Path, name: str, old: bytes, new: bytes
) -> None:
    """Also where size and time of the change are made to look the same."""
    log = restore(tmp_path / "egress", last())
    log.append("t", {})
    next_tick(log.folder)
    path = log.folder / name
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    found(log, "entry 1 was changed|receipt 1|head")


# What a long log costs.


def long_log(folder: Path, entries: int) -> EgressLog:
    folder.mkdir()
    previous, lines = GENESIS, []
    for number in range(1, entries + 1):
        entry = fields(number) | {"sequence": number, "time": "t", "previous": previous}
        entry |= {"countersigned": 0}
        entry["hash"] = previous = entry_hash(entry)
        lines.append(canonical(entry) + b"\n")
    (folder / "log.jsonl").write_bytes(b"".join(lines))
    head = sign_head("north", entries, previous, "t", SITE)
    (folder / "head.json").write_bytes(canonical(head.document()))
    return log_in(folder)


def bytes_read(action: Callable[[], object]) -> int:
    def so_far() -> int:
        text = Path("/proc/self/io").read_text()
        return int(dict(line.split(": ") for line in text.splitlines())["rchar"])

    start = so_far()
    action()
    return so_far() - start


def cost_of_an_answer(folder: Path, entries: int) -> int:
    """Bytes read from one question to the next, on a log of so many entries."""
    log = long_log(folder, entries)
    assert bytes_read(lambda: log.take("")) >= (log.folder / "log.jsonl").stat().st_size

    def answer() -> None:
        log.take(receipt_for(log.append("t", {})))

    answer()
    cost = max(bytes_read(answer) for _ in range(3))
    assert len(log.verify()) == entries + 4
    return cost


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_answer_reads_the_same_however_long_the_log_is(tmp_path: Path) -> None:
    short, long = (cost_of_an_answer(tmp_path / str(n), n) for n in (20, 10_000))
    assert long < short + 500
    assert long < 20_000
