"""The chain of an egress log: each entry holds the hash of the one before (pure, no files)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fedrisk.attestation import Receipt, canonical, receipt_is_signed
from fedrisk.errors import TamperedLogError

#: What the first entry names as the hash before it.
GENESIS = "0" * 64
HINT = "answer nothing until it is known who changed it; `fedrisk site egress --verify` says more"

Entry = dict[str, Any]


def entry_hash(entry: Mapping[str, Any]) -> str:
    """SHA-256 of an entry without its own ``hash``, in hexadecimal."""
    return hashlib.sha256(canonical({k: v for k, v in entry.items() if k != "hash"})).hexdigest()


def tampered(what: str) -> TamperedLogError:
    """The error for a log that is off, in the words of every such error."""
    return TamperedLogError(f"egress log: {what}", HINT)


def read_chain(lines: Sequence[bytes]) -> list[Entry]:
    """Entries from their lines, each checked and linked to the one before.

    Raises
    ------
    TamperedLogError
        Naming the first entry that is off.
    """
    entries: list[Entry] = []
    previous = GENESIS
    for number, line in enumerate(lines, start=1):
        entry = _read_entry(line, number)
        if entry["previous"] != previous:
            raise tampered(f"entry {number} does not follow the one before it")
        entries.append(entry)
        previous = entry["hash"]
    return entries


def _read_entry(line: bytes, number: int) -> Entry:
    try:
        entry: Entry = json.loads(line)
        whole = entry["hash"] == entry_hash(entry) and entry["sequence"] == number
        # One entry has one form: a space that reads the same is a change too.
        if whole and canonical(entry) == line and isinstance(entry["previous"], str):
            return entry
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise tampered(f"entry {number} was changed")


def match(entries: Sequence[Entry], sequence: int, digest: str, what: str) -> None:
    """Check that the chain holds an entry of this number and hash.

    Raises
    ------
    TamperedLogError
        Naming the entry that is missing or differs.
    """
    if sequence > len(entries):
        raise tampered(f"entry {len(entries) + 1} is missing, for {what} names {sequence} entries")
    if sequence < 1 or entries[sequence - 1]["hash"] != digest:
        raise tampered(f"entry {sequence} differs from {what}: the chain was rewritten")


def read_receipts(lines: Sequence[bytes], coordinator: str) -> list[Receipt]:
    """Receipts from their lines, each the coordinator's and of a later entry than the one before.

    Raises
    ------
    TamperedLogError
        Naming the first receipt that is off.
    """
    receipts: list[Receipt] = []
    for number, line in enumerate(lines, start=1):
        receipt = _read_receipt(line, number)
        if not receipt_is_signed(receipt, coordinator):
            raise tampered(
                f"receipt {number}, for entry {receipt.head.sequence}, is not the coordinator's"
            )
        if receipts and receipts[-1].head.sequence >= receipt.head.sequence:
            raise tampered(f"receipt {number} does not follow the one before it")
        receipts.append(receipt)
    return receipts


def _read_receipt(line: bytes, number: int) -> Receipt:
    try:
        receipt = Receipt.from_text(line.decode())
        if receipt.text().encode() == line:
            return receipt
    except (TamperedLogError, ValueError, RecursionError):
        pass
    raise tampered(f"receipt {number} was changed")


def match_receipts(entries: Sequence[Entry], receipts: Sequence[Receipt]) -> None:
    """Check the chain against the receipts, and that those it says were kept are there.

    Raises
    ------
    TamperedLogError
        Naming the first entry that differs, or whose receipt is missing.
    """
    for receipt in receipts:
        head = receipt.head
        match(entries, head.sequence, head.hash, "a head that the coordinator countersigned")
    kept = {receipt.head.sequence for receipt in receipts}
    for entry in entries:
        if (named := entry.get("countersigned", 0)) and named not in kept:
            raise tampered(
                f"the receipt for entry {named} is missing, which entry {entry['sequence']} names"
            )
