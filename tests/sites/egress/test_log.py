"""The log of what left: nobody changes it unseen, and the first entry that is off is named."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from egress_history import (
    ENTRIES,
    MEMORY,
    SITE,
    STRANGER,
    fields,
    found,
    history,
    last,
    log_in,
    moment,
    receipt_for,
    restore,
    rewritten,
    unseen,
)
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fedrisk.attestation import sign_head
from fedrisk.errors import TamperedLogError
from fedrisk.sites.egress.chain import GENESIS
from fedrisk.sites.egress.log import EgressLog


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
    restore(tmp_path / "egress", last())
    log = EgressLog(tmp_path / "egress", "north", SITE)
    head = log.append("t", {})
    assert not log.store_receipt(receipt_for(head))
    assert log.receipts() == []
    assert len(log.verify()) == ENTRIES + 1


def test_a_head_of_another_site_is_no_evidence(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    head = log.append("t", {})
    with pytest.raises(TamperedLogError, match="not signed by this site"):
        log.verify([sign_head("north", 1, head.hash, "t", STRANGER)])
