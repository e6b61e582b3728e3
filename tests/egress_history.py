"""A short history of an egress log, and ways to tell it otherwise."""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedrisk.attestation import Head, canonical, countersign, public_text, sign_head
from fedrisk.errors import TamperedLogError
from fedrisk.sites.egress.chain import GENESIS, entry_hash
from fedrisk.sites.egress.log import EgressLog

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
