"""The hash-chained log of everything that left a site, one JSON line an answer or a refusal.

Each entry holds the hash of the one before, so that nothing in the middle can be changed alone; a
signed head outside the log holds the last one, so that its end cannot be cut off alone; the
coordinator's receipts hold heads, so that the site's own key does not suffice to rewrite it all.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedrisk.errors import SiteFolderError, TamperedLogError
from fedrisk.sites.egress_heads import (
    Head,
    Receipt,
    canonical,
    head_is_signed,
    public_text,
    receipt_is_signed,
    sign_head,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: What the first entry names as the hash before it.
GENESIS = "0" * 64
_HINT = "answer nothing until it is known who changed it; `fedrisk site egress --verify` says more"


def entry_hash(entry: Mapping[str, Any]) -> str:
    """SHA-256 of an entry without its own ``hash``, in hexadecimal."""
    return hashlib.sha256(canonical({k: v for k, v in entry.items() if k != "hash"})).hexdigest()


@dataclass(frozen=True)
class EgressLog:
    """A site's log: ``log.jsonl``, ``head.json`` and ``receipts.jsonl`` in a folder.

    Attributes
    ----------
    folder : Path
    site : str
    key : Ed25519PrivateKey
        Signs the head.
    coordinator : str
        The coordinator's public key, OpenSSH format; empty where it is not known and
        receipts are ignored.
    """

    folder: Path
    site: str
    key: Ed25519PrivateKey
    coordinator: str = ""

    def append(self, time: str, fields: Mapping[str, Any]) -> Head:
        """Add an entry and sign the new head; both are on disk when this returns.

        Raises
        ------
        TamperedLogError
            When the log is not as it was written.
        SiteFolderError
            When it cannot be written; nothing may leave then.
        """
        try:
            with self._locked():
                return self._append(time, fields)
        except OSError as error:
            raise SiteFolderError(
                f"{self.folder}: the egress log cannot be written: {error.strerror}",
                hint="free disk space, or mend the folder; without the log nothing leaves",
            ) from None

    def entries(self) -> list[dict[str, Any]]:
        """Every entry, oldest first, checked.

        Raises
        ------
        TamperedLogError
            Naming the first entry that is off.
        """
        with self._locked():
            return self._checked()

    def verify(self, heads: Sequence[Head] = ()) -> list[dict[str, Any]]:
        """Check the chain against the signed head, the receipts and further heads; its entries.

        Parameters
        ----------
        heads : sequence of Head
            From elsewhere, such as the coordinator's memory; each must be this site's.

        Raises
        ------
        TamperedLogError
            Naming the first entry that is off.
        """
        with self._locked():
            entries = self._checked()
            for head in heads:
                if not head_is_signed(head, public_text(self.key)):
                    raise TamperedLogError("the head that was given is not signed by this site")
                _match(entries, head, "the head that was given")
            return entries

    def take(self, receipt: str) -> None:
        """Check the log before anything is answered, and keep the receipt that came, if any.

        Raises
        ------
        TamperedLogError
            When the log is not as it was written, or not as the coordinator has countersigned it.
        """
        if not receipt or not self.store_receipt(receipt):
            self.entries()

    def store_receipt(self, text: str) -> bool:
        """Keep a receipt of the coordinator's; whether it was new and the coordinator's.

        Raises
        ------
        TamperedLogError
            When the coordinator has countersigned what the log does not hold.
        """
        try:
            receipt = Receipt.from_text(text)
        except TamperedLogError:
            return False
        genuine = self.coordinator and receipt_is_signed(receipt, self.coordinator)
        if not genuine or not head_is_signed(receipt.head, public_text(self.key)):
            return False
        with self._locked():
            _match(self._checked(), receipt.head, "a head that the coordinator countersigned")
            known = self.receipts()
            if known and known[-1].head.sequence >= receipt.head.sequence:
                return False
            _append_line(self._receipts, receipt.text().encode())
        return True

    def head(self) -> Head | None:
        """The signed head; None before the first entry."""
        path = self.folder / "head.json"
        if not path.exists():
            return None
        try:
            return Head.from_document(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, AttributeError) as error:
            raise TamperedLogError(f"{path}: not a signed head: {error}", _HINT) from None

    def receipts(self) -> list[Receipt]:
        """Receipts kept so far, oldest first; a half-written last line is no receipt."""
        return [Receipt.from_text(line.decode()) for line in _whole_lines(self._receipts)]

    @property
    def _path(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def _receipts(self) -> Path:
        return self.folder / "receipts.jsonl"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _append(self, time: str, fields: Mapping[str, Any]) -> Head:
        entries = self._checked()
        previous = str(entries[-1]["hash"]) if entries else GENESIS
        entry = {**fields, "sequence": len(entries) + 1, "time": time, "previous": previous}
        entry["hash"] = entry_hash(entry)
        _append_line(self._path, canonical(entry))
        head = sign_head(self.site, len(entries) + 1, entry["hash"], time, self.key)
        _replace(self.folder / "head.json", canonical(head.document()))
        return head

    def _checked(self) -> list[dict[str, Any]]:
        entries = _chain(_whole_lines(self._path))
        head = self.head()
        if head is None:
            if len(entries) > 1:
                raise TamperedLogError("egress log: the signed head is missing", _HINT)
            return entries
        if not head_is_signed(head, public_text(self.key)):
            raise TamperedLogError("egress log: the head is not signed by this site's key", _HINT)
        _match(entries, head, "the signed head")
        # One entry may be newer: it was written, and the process ended before the head was.
        if len(entries) > head.sequence + 1:
            raise TamperedLogError(
                f"egress log: entry {head.sequence + 2} is newer than the signed head", _HINT
            )
        for receipt in self.receipts() if self.coordinator else ():
            if not receipt_is_signed(receipt, self.coordinator):
                raise TamperedLogError("egress log: a stored receipt is forged", _HINT)
            _match(entries, receipt.head, "a head that the coordinator countersigned")
        return entries


def _chain(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    previous = GENESIS
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            whole = entry["hash"] == entry_hash(entry) and entry["sequence"] == number
            linked = entry["previous"] == previous
        except (ValueError, KeyError, TypeError):
            whole, linked, entry = False, True, {}
        if not whole:
            raise TamperedLogError(f"egress log: entry {number} was changed", _HINT)
        if not linked:
            raise TamperedLogError(
                f"egress log: entry {number} does not follow the one before it", _HINT
            )
        entries.append(entry)
        previous = entry["hash"]
    return entries


def _match(entries: Sequence[Mapping[str, Any]], head: Head, what: str) -> None:
    if head.sequence > len(entries):
        raise TamperedLogError(
            f"egress log: entry {len(entries) + 1} is missing, for {what} names "
            f"{head.sequence} entries",
            _HINT,
        )
    if head.sequence < 1 or entries[head.sequence - 1]["hash"] != head.hash:
        raise TamperedLogError(
            f"egress log: entry {head.sequence} differs from {what}: the chain was rewritten", _HINT
        )


def _whole_lines(path: Path) -> list[bytes]:
    """Lines that end; what a crash left half-written at the end never led to an answer."""
    if not path.exists():
        return []
    return path.read_bytes().split(b"\n")[:-1]


def _append_line(path: Path, line: bytes) -> None:
    content = path.read_bytes() if path.exists() else b""
    with path.open("ab") as file:
        file.truncate(content.rfind(b"\n") + 1)
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, content: bytes) -> None:
    scratch = path.with_suffix(".tmp")
    with scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
