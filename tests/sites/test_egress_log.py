"""The log of what left: nobody changes it unseen, no crash breaks it, its length costs nothing."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fedrisk.errors import SiteFolderError, TamperedLogError
from fedrisk.sites.egress_chain import GENESIS, entry_hash
from fedrisk.sites.egress_heads import Head, Receipt, canonical, countersign, public_text, sign_head
from fedrisk.sites.egress_log import EgressLog

SITE = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
COORDINATOR = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"x" * 32)
ENTRIES = 7
#: Where waiting for a disk would show nothing, files are in memory.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
Files = dict[str, bytes]


def fields(number: int) -> dict[str, object]:
    return {"run": "r1", "kind": "newton", "outcome": "released", "bytes": 8 * number, "half": 0.5}


def moment(number: int) -> str:
    return f"2026-01-01T00:00:{number:09.6f}"


def log_in(folder: Path, key: Ed25519PrivateKey = SITE, patience: float = 30.0) -> EgressLog:
    return EgressLog(folder, "north", key, public_text(COORDINATOR), patience)


def receipt_for(head: Head, key: Ed25519PrivateKey = COORDINATOR) -> str:
    return countersign(head, "2026-01-02T00:00:00", key).text()


def snapshot(folder: Path) -> Files:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "lock"}


def restore(folder: Path, files: Files) -> EgressLog:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return log_in(folder)


@cache
def history() -> tuple[tuple[Files, Head], ...]:
    """The folder and head after each entry; a receipt comes with every later question."""
    states: list[tuple[Files, Head]] = []
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        log = log_in(Path(place))
        receipt = ""
        for number in range(1, ENTRIES + 1):
            log.take(receipt)
            head = log.append(moment(number), fields(number))
            receipt = receipt_for(head)
            states.append((snapshot(Path(place)), head))
    return tuple(states)


def last() -> Files:
    return dict(history()[-1][0])


def rewritten(files: Files, first: int, key: Ed25519PrivateKey | None) -> Files:
    """The log told anew from an entry on, hashes and all; signed too if there is a key."""
    entries = [json.loads(line) for line in files["log.jsonl"].splitlines()]
    entries[first - 1]["bytes"] += 1
    previous = GENESIS if first == 1 else entries[first - 2]["hash"]
    for entry in entries[first - 1 :]:
        entry["previous"] = previous
        previous = entry["hash"] = entry_hash(entry)
    changed = files | {"log.jsonl": b"".join(canonical(entry) + b"\n" for entry in entries)}
    if key is not None:
        end = entries[-1]
        head = sign_head("north", end["sequence"], end["hash"], end["time"], key)
        changed["head.json"] = canonical(head.document())
        changed.pop("mark.json", None)
    return changed


def found(log: EgressLog, match: str) -> None:
    """Whoever checks, asks or answers is told, in the same words."""
    for look in (log.verify, log.entries, lambda: log.take(""), lambda: log.append("t", {})):
        with pytest.raises(TamperedLogError, match=match):
            look()


def unseen(log: EgressLog) -> None:
    """The folder alone tells nothing; what the coordinator remembers does."""
    log.verify()
    head = history()[-1][1]
    with pytest.raises(TamperedLogError, match=r"entry \d+ (differs|is missing)"):
        log.verify([head])
    with pytest.raises(TamperedLogError, match=r"entry \d+ (differs|is missing)"):
        log.take(receipt_for(head))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        yield Path(place) / "egress"


# What is written reads back.


def test_entries_read_back_linked_and_signed(tmp_path: Path) -> None:
    log = log_in(tmp_path / "new" / "egress")
    assert log.entries() == []
    assert log.head() is None
    heads = [log.append(moment(n), fields(n)) for n in (1, 2, 3)]
    entries = log.verify(heads)
    assert [entry["bytes"] for entry in entries] == [8, 16, 24]
    assert [entry["sequence"] for entry in entries] == [1, 2, 3]
    assert entries[0]["previous"] == GENESIS
    assert entries[2]["previous"] == entries[1]["hash"]
    assert log.head() == heads[-1]
    assert (heads[-1].site, heads[-1].sequence, heads[-1].hash) == ("north", 3, entries[2]["hash"])


def test_untouched_history_is_accepted_at_every_length(folder: Path) -> None:
    for number, (files, _) in enumerate(history(), start=1):
        log = restore(folder, files)
        assert len(log.verify([head for _, head in history()[:number]])) == number
        assert [receipt.head.sequence for receipt in log.receipts()] == list(range(1, number))


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=30), st.floats(), st.text(st.characters(categories=["Cs"]), max_size=3))
def test_whatever_a_question_holds_can_be_logged(text: str, number: float, half: str) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        log = log_in(Path(place))
        log.append("t", {"run": text, "groups": {"rows": number}, "reason": half})
        log.append("t", {})
        (entry, _) = log.verify()
        assert (entry["run"], entry["reason"]) == (text, half)


# Every change is found, and the first entry that is off is named.


def line_of(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_changed_byte_of_the_log_is_found(folder: Path, data: st.DataObject) -> None:
    files = last()
    content = bytearray(files["log.jsonl"])
    place = data.draw(st.integers(0, len(content) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
    entry = line_of(bytes(content), place)
    content[place] = value
    log = restore(folder, files | {"log.jsonl": bytes(content)})
    found(log, rf"entry {entry} (was changed|is missing)")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_inserted_bytes_are_found(folder: Path, data: st.DataObject) -> None:
    files = last()
    content = files["log.jsonl"]
    place = data.draw(st.integers(0, len(content) - 1))
    extra = data.draw(st.one_of(st.sampled_from([b" ", b"\n", b"\r"]), st.binary(min_size=1)))
    changed = content[:place] + extra + content[place:]
    assume(changed != content)
    log = restore(folder, files | {"log.jsonl": changed})
    pairs = enumerate(zip(content + b"-", changed, strict=False))
    first = next(index for index, (old, new) in pairs if old != new)
    found(log, rf"entry {line_of(content, first)} was changed")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_lines_deleted_doubled_or_swapped_are_found(folder: Path, data: st.DataObject) -> None:
    files = last()
    lines = files["log.jsonl"].splitlines(keepends=True)
    one, other = sorted(
        data.draw(st.lists(st.integers(0, ENTRIES - 1), min_size=2, max_size=2, unique=True))
    )
    way = data.draw(st.sampled_from(["delete", "double", "swap"]))
    if way == "delete":
        del lines[one]
    elif way == "double":
        lines.insert(one, lines[one])
    else:
        lines[one], lines[other] = lines[other], lines[one]
    first = one + 2 if way == "double" else one + 1
    log = restore(folder, files | {"log.jsonl": b"".join(lines)})
    found(log, rf"entry {first} (was changed|is missing|does not follow)")


def test_the_last_line_deleted_is_found(folder: Path) -> None:
    files = last()
    lines = files["log.jsonl"].splitlines(keepends=True)
    log = restore(folder, files | {"log.jsonl": b"".join(lines[:-1])})
    found(log, f"entry {ENTRIES} is missing")


@settings(max_examples=80, deadline=None)
@given(st.data())
@example(None)
def test_a_log_cut_off_anywhere_is_found(folder: Path, data: st.DataObject | None) -> None:
    files = last()
    content = files["log.jsonl"]
    place = 0 if data is None else data.draw(st.integers(0, len(content) - 1))
    log = restore(folder, files | {"log.jsonl": content[:place]})
    found(log, f"entry {line_of(content, place)} is missing")


@pytest.mark.parametrize("name", ["head.json", "receipts.jsonl"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_changed_byte_beside_the_log_is_found(
    folder: Path, name: str, data: st.DataObject
) -> None:
    files = last()
    content = bytearray(files[name])
    place = data.draw(st.integers(0, len(content) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
    receipt = line_of(bytes(content), place)
    content[place] = value
    log = restore(folder, files | {name: bytes(content)})
    said = rf"receipt(s? for entry)? {receipt}\b|receipt for entry {receipt} is missing"
    found(log, said if name == "receipts.jsonl" else "head")


@pytest.mark.parametrize("first", range(1, ENTRIES + 1))
def test_a_chain_rewritten_without_the_key_is_found(folder: Path, first: int) -> None:
    log = restore(folder, rewritten(last(), first, None))
    found(log, f"entry {first} differs from .*: the chain was rewritten")


@pytest.mark.parametrize("first", range(1, ENTRIES))
def test_a_chain_rewritten_with_the_key_contradicts_a_receipt(folder: Path, first: int) -> None:
    log = restore(folder, rewritten(last(), first, SITE))
    found(log, f"entry {first} differs from a head that the coordinator countersigned")


def test_an_entry_rewritten_with_the_key_before_its_receipt_came_is_found_elsewhere(
    folder: Path,
) -> None:
    unseen(restore(folder, rewritten(last(), ENTRIES, SITE)))


def test_a_chain_signed_by_another_key_is_found(folder: Path) -> None:
    log = restore(folder, rewritten(last(), ENTRIES, STRANGER))
    found(log, "not signed by this site's key")


@pytest.mark.parametrize("older", range(1, ENTRIES - 1))
def test_an_older_head_put_back_is_found(folder: Path, older: int) -> None:
    files = last() | {"head.json": history()[older - 1][0]["head.json"]}
    found(restore(folder, files), f"entry {older + 2} is newer than the signed head")


def test_the_head_before_last_is_as_after_a_crash_and_loses_nothing(folder: Path) -> None:
    log = restore(folder, last() | {"head.json": history()[-2][0]["head.json"]})
    head = log.append("t", {})
    assert len(log.verify([head, history()[-1][1]])) == ENTRIES + 1


def test_the_end_cut_off_and_the_head_before_last_put_back_is_found(folder: Path) -> None:
    files, before = last(), history()[-2][0]
    files |= {name: before[name] for name in ("log.jsonl", "head.json")}
    found(restore(folder, files), f"entry {ENTRIES} is missing, for the mark")
    del files["mark.json"]
    unseen(restore(folder, files))


def test_a_head_removed_is_found(folder: Path) -> None:
    files = last()
    del files["head.json"]
    found(restore(folder, files), "the signed head is missing")


@pytest.mark.parametrize("removed", range(1, ENTRIES))
def test_a_receipt_removed_is_found(folder: Path, removed: int) -> None:
    files = last()
    lines = files["receipts.jsonl"].splitlines(keepends=True)
    del lines[removed - 1]
    log = restore(folder, files | {"receipts.jsonl": b"".join(lines)})
    found(log, f"the receipt for entry {removed} is missing, which entry {removed + 1} names")


def test_all_receipts_removed_are_found(folder: Path) -> None:
    files = last()
    del files["receipts.jsonl"]
    found(restore(folder, files), "the receipt for entry 1 is missing")


def test_everything_removed_but_receipts_is_found(folder: Path) -> None:
    files = {"receipts.jsonl": last()["receipts.jsonl"]}
    found(restore(folder, files), "entry 1 is missing")


def test_a_forged_receipt_is_found(folder: Path) -> None:
    files, head = last(), history()[-1][1]
    forged = files["receipts.jsonl"] + receipt_for(head, STRANGER).encode() + b"\n"
    log = restore(folder, files | {"receipts.jsonl": forged})
    found(log, f"receipt {ENTRIES}, for entry {ENTRIES}, is not the coordinator's")


@pytest.mark.parametrize("older", range(1, ENTRIES))
def test_everything_put_back_together_is_found_by_what_the_coordinator_remembers(
    folder: Path, older: int
) -> None:
    unseen(restore(folder, history()[older - 1][0]))


def test_a_log_begun_anew_is_found_by_what_the_coordinator_remembers(folder: Path) -> None:
    log = restore(folder, {})
    unseen(log)
    log.append("t", {})
    unseen(log)


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


# Receipts.


def test_receipts_that_are_no_receipts_of_this_log_are_left_aside(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    head = log.append("t", {})
    foreign = sign_head("south", 1, head.hash, "t", STRANGER)
    texts = ("", "no receipt", "{}", receipt_for(head, STRANGER), receipt_for(foreign), "[" * 9999)
    for text in texts:
        log.take(text)
        assert not log.store_receipt(text)
    assert log.receipts() == []
    assert log.store_receipt(receipt_for(head))
    assert not log.store_receipt(receipt_for(head))
    assert [kept.head for kept in log.receipts()] == [head]


def test_a_receipt_for_an_older_entry_is_compared_too(tmp_path: Path) -> None:
    log = restore(tmp_path / "egress", last())
    for files, head in history():
        assert files
        log.take(receipt_for(head))
    other = sign_head("north", 2, "f" * 64, "t", SITE)
    with pytest.raises(TamperedLogError, match="entry 2 differs from a head that the coordinator"):
        log.take(receipt_for(other))


def test_without_a_coordinator_receipts_are_ignored(tmp_path: Path) -> None:
    log = EgressLog(tmp_path, "north", SITE)
    head = log.append("t", {})
    assert not log.store_receipt(receipt_for(head))
    assert len(log.verify()) == 1


def test_a_head_of_another_site_is_no_evidence(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    head = log.append("t", {})
    with pytest.raises(TamperedLogError, match="not signed by this site"):
        log.verify([sign_head("north", 1, head.hash, "t", STRANGER)])


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
        state["head.tmp"] = after["head.json"][:place]
    if step in ("head", "mark aside"):
        state["head.json"] = after["head.json"]
        heads.append(history()[number][1])
    if step == "mark aside":
        place = data.draw(st.integers(0, len(after["mark.json"])))
        state["mark.tmp"] = after["mark.json"][:place]
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
from fedrisk.sites.egress_log import EgressLog
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
from fedrisk.sites.egress import Errand, release
from fedrisk.sites.egress_log import EgressLog
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


def test_receipt_reads_back_what_was_countersigned() -> None:
    head = history()[0][1]
    assert Receipt.from_text(receipt_for(head)).head == head


def test_file_size_limit_is_a_signal_that_python_ignores() -> None:
    """Else the children above would be killed instead of being told."""
    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN
    assert resource.RLIMIT_FSIZE
