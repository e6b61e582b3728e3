"""The hash-chained log of everything that left a site, one JSON line an answer or a refusal.

Each entry holds the hash of the one before, so that nothing in the middle can be changed alone; a
signed head outside the log holds the last one, so that its end cannot be cut off alone; the
coordinator's receipts hold heads, so that the site's own key does not suffice to rewrite it all.

What the folder alone cannot tell: that log, head, receipts and mark were together put back to an
older state, or rewritten together with the site's key. The next receipt tells, or the heads that
the coordinator remembers (`EgressLog.verify`).

The whole log is checked at a start, on demand, and before any answer for which one of its files is
not as the log itself left it (`fedrisk.sites.egress.marks`); otherwise an answer costs the same
however long the log is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedrisk.attestation import (
    Head,
    Receipt,
    canonical,
    head_is_signed,
    public_text,
    receipt_is_signed,
    sign_head,
)
from fedrisk.durable import replace
from fedrisk.errors import SiteFolderError, TamperedLogError
from fedrisk.home import locked
from fedrisk.sites.egress.chain import (
    GENESIS,
    Entry,
    entry_hash,
    match,
    match_receipts,
    read_chain,
    read_receipts,
    tampered,
)
from fedrisk.sites.egress.files import append_line, line_before, whole_lines
from fedrisk.sites.egress.marks import Mark, Place

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: Most seconds to wait for another process of the site that writes the log.
LOCK_SECONDS = 30.0


@dataclass(frozen=True)
class EgressLog:
    """A site's log: ``log.jsonl``, ``head.json``, ``receipts.jsonl``, ``mark.json`` in a folder.

    Attributes
    ----------
    folder : Path
    site : str
    key : Ed25519PrivateKey
        Signs the head.
    coordinator : str
        The coordinator's public key, OpenSSH format; empty where it is not known and
        receipts are ignored.
    patience : float
        Most seconds to wait for another process that writes.
    """

    folder: Path
    site: str
    key: Ed25519PrivateKey
    coordinator: str = ""
    patience: float = LOCK_SECONDS

    def append(self, time: str, fields: Mapping[str, Any]) -> Head:
        """Add an entry and sign the new head; both are on disk when this returns.

        Raises
        ------
        TamperedLogError
            When the log is not as it was written.
        SiteFolderError
            When it cannot be written; nothing may leave then.
        """
        with self._alone():
            place = self._place()
            entry = dict(fields) | {
                "countersigned": place.countersigned,
                "sequence": place.sequence + 1,
                "time": time,
                "previous": place.hash,
            }
            entry["hash"] = entry_hash(entry)
            line = canonical(entry)
            append_line(self._path, place.end, line)
            head = self._sign(entry)
            self._mark(place.after(entry["hash"], len(line) + 1))
            return head

    def entries(self) -> list[Entry]:
        """Every entry, oldest first, checked.

        Raises
        ------
        TamperedLogError
            Naming the first entry that is off.
        SiteFolderError
            When it cannot be read.
        """
        with self._alone():
            return self._checked()

    def verify(self, heads: Sequence[Head] = ()) -> list[Entry]:
        """Check the chain against the signed head, the receipts and further heads; its entries.

        Parameters
        ----------
        heads : sequence of Head
            From elsewhere, such as the coordinator's memory; each must be this site's.

        Raises
        ------
        TamperedLogError
            Naming the first entry that is off.
        SiteFolderError
            When it cannot be read.
        """
        with self._alone():
            entries = self._checked()
        for head in sorted(heads, key=lambda head: head.sequence):
            if not head_is_signed(head, public_text(self.key)):
                raise TamperedLogError("the head that was given is not signed by this site")
            match(entries, head.sequence, head.hash, "the head that was given")
        return entries

    def take(self, receipt: str) -> None:
        """Check the log before anything is answered, and keep the receipt that came, if any.

        Raises
        ------
        TamperedLogError
            When the log is not as it was written, or not as the coordinator has countersigned it.
        SiteFolderError
            When it cannot be read or written.
        """
        self.store_receipt(receipt)

    def store_receipt(self, text: str) -> bool:
        """Check the log, and keep a receipt; whether it was new and the coordinator's.

        Raises
        ------
        TamperedLogError
            When the log is not as it was written, or not as the coordinator has countersigned it.
        SiteFolderError
            When it cannot be read or written.
        """
        receipt = self._genuine(text)
        with self._alone():
            place = self._place()
            if receipt is None:
                return False
            self._compare(place, receipt.head)
            if receipt.head.sequence <= place.countersigned:
                return False
            line = receipt.text().encode()
            append_line(self._receipts, place.receipts_end, line)
            self._mark(place.countersigned_to(receipt.head.sequence, len(line) + 1))
        return True

    def head(self) -> Head | None:
        """The signed head; None before the first entry.

        Raises
        ------
        TamperedLogError
            When it is no head, or not signed by this site's key.
        """
        try:
            content = self._head.read_bytes()
        except FileNotFoundError:
            return None
        try:
            head = Head.from_document(json.loads(content))
        except (ValueError, TypeError, RecursionError, TamperedLogError):
            head = None
        if head is None or canonical(head.document()) != content:
            raise tampered("head.json is no signed head")
        if not head_is_signed(head, public_text(self.key)):
            raise tampered("the head is not signed by this site's key")
        return head

    def receipts(self) -> list[Receipt]:
        """Receipts kept so far, oldest first; none where the coordinator's key is not known.

        A half-written last line is no receipt.

        Raises
        ------
        TamperedLogError
            Naming the first receipt that is not the coordinator's.
        """
        if not self.coordinator:
            return []
        return read_receipts(whole_lines(self._receipts), self.coordinator)

    @property
    def _path(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def _head(self) -> Path:
        return self.folder / "head.json"

    @property
    def _receipts(self) -> Path:
        return self.folder / "receipts.jsonl"

    @property
    def _files(self) -> tuple[Path, Path, Path]:
        return self._path, self._head, self._receipts

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / "lock", SiteFolderError, self.patience):
                yield
        except OSError as error:
            raise SiteFolderError(
                f"{self.folder}: the egress log cannot be read or written: {error.strerror}",
                hint="free disk space, or mend the folder; without the log nothing leaves",
            ) from None

    def _place(self) -> Place:
        """Where the log ends: by the mark if no file was touched since, else by a full check."""
        mark = Mark.read(self.folder / "mark.json", self.key)
        if mark is not None and mark.holds(self._files):
            return mark.place
        entries = self._checked()
        head = self.head()
        if entries and (head is None or head.sequence < len(entries)):
            # Written, and the process ended before the head was: it is signed now, lest a
            # second one made two.
            self._sign(entries[-1])
        receipts = self.receipts()
        place = Place(
            sequence=len(entries),
            hash=str(entries[-1]["hash"]) if entries else GENESIS,
            end=sum(len(line) + 1 for line in whole_lines(self._path)),
            countersigned=receipts[-1].head.sequence if receipts else 0,
            receipts_end=sum(len(line) + 1 for line in whole_lines(self._receipts)),
        )
        self._mark(place)
        return place

    def _mark(self, place: Place) -> None:
        with suppress(OSError):  # it saves work alone: without it the log is checked in whole
            Mark.make(place, self._files).write(self.folder / "mark.json", self.key)

    def _sign(self, entry: Entry) -> Head:
        head = sign_head(self.site, entry["sequence"], entry["hash"], entry["time"], self.key)
        replace(self._head, canonical(head.document()))
        return head

    def _checked(self) -> list[Entry]:
        entries = read_chain(whole_lines(self._path))
        if self.coordinator:
            match_receipts(entries, self.receipts())
        head = self.head()
        if head is not None:
            match(entries, head.sequence, head.hash, "the signed head")
        signed = 0 if head is None else head.sequence
        # One entry may be newer: it was written, and the process ended before the head was.
        if len(entries) > signed + 1:
            raise tampered(
                f"entry {signed + 2} is newer than the signed head"
                if head is not None
                else "the signed head is missing"
            )
        mark = Mark.read(self.folder / "mark.json", self.key)
        if mark is not None and mark.place.sequence:
            match(entries, mark.place.sequence, mark.place.hash, "the mark of the last answer")
        return entries

    def _genuine(self, text: str) -> Receipt | None:
        if not text or not self.coordinator:
            return None
        try:
            receipt = Receipt.from_text(text)
        except TamperedLogError:
            return None
        genuine = receipt_is_signed(receipt, self.coordinator)
        return receipt if genuine and head_is_signed(receipt.head, public_text(self.key)) else None

    def _compare(self, place: Place, head: Head) -> None:
        what = "a head that the coordinator countersigned"
        if head.sequence > place.sequence:
            raise tampered(
                f"entry {place.sequence + 1} is missing, for {what} names {head.sequence} entries"
            )
        found = ""
        if head.sequence >= 1:
            back = place.sequence - head.sequence
            found = str(json.loads(line_before(self._path, place.end, back))["hash"])
        if found != head.hash:
            raise tampered(f"entry {head.sequence} differs from {what}: the chain was rewritten")
