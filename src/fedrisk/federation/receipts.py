"""The coordinator's memory of every site's egress log: signed heads come in, receipts go out.

A site signs the head of its log with each reply. The coordinator checks it against the members'
keys and against what it remembers, countersigns it, and sends the receipt with the next question to
that site, in whatever run. So neither can later tell another story alone. One file a site,
``heads/NAME.json`` in the federation's folder, written whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fedrisk.attestation import Head, Receipt, countersign, head_is_signed, read_private
from fedrisk.durable import write_whole
from fedrisk.errors import FederationError, HomeError, TamperedLogError
from fedrisk.federation.provisioning.coordinator import Federation
from fedrisk.federation.provisioning.members import Member, MembersFile
from fedrisk.home import locked

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: What helps where the coordinator's own files cannot be used.
RESUME = "make room or give access, then take the run up with `fedrisk train --resume`"


@dataclass(frozen=True)
class Countersigner:
    """Checks and countersigns the heads of the sites' egress logs.

    Attributes
    ----------
    folder : Path
        Where one file a site is kept.
    members : MembersFile
        Which key signs for which site, and which of Flower's nodes it runs.
    key : Ed25519PrivateKey
        The coordinator's.
    now : callable
        The time, UTC.
    """

    folder: Path
    members: MembersFile
    key: Ed25519PrivateKey
    now: Callable[[], datetime]

    @classmethod
    def open(cls, folder: Path, now: Callable[[], datetime]) -> Countersigner:
        """The countersigner of a federation's folder.

        Raises
        ------
        HomeError
            When the folder is no federation's.
        SiteFolderError
            When its key cannot be read.
        """
        federation = Federation.open(folder)
        key = read_private(folder / "coordinator.key")
        return cls(folder / "heads", federation.members, key, now)

    def nodes(self) -> dict[int, str]:
        """Which site each registered node is: a node cannot answer in another site's name."""
        return {int(m.node): name for name, m in self._approved().items() if m.node}

    def receipt(self, site: str) -> Receipt | None:
        """The last receipt of a site; None before its first head.

        Raises
        ------
        HomeError
            When what is kept of the site is damaged or cannot be read: no fault of the site's.
        """
        try:
            return Receipt.from_text(self._file(site).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (TamperedLogError, OSError, UnicodeError) as error:
            raise HomeError(
                f"{self._file(site)} cannot be read: {error}",
                hint="restore it from a copy, or compare the log with the site's operator",
            ) from None

    def take(self, site: str, head: Head | None, after: int) -> None:
        """Check the head that came with a site's reply, countersign and keep it.

        Parameters
        ----------
        site : str
        head : Head or None
        after : int
            Number of the entry that the question's receipt named; 0 without one. The reply was
            logged behind it, whatever other runs asked meanwhile.

        Raises
        ------
        TamperedLogError
            When there is none, another key signed it, or the log went back or was rewritten.
        HomeError
            When the coordinator's own files cannot be used: no fault of the site's.
        """
        if head is None:
            raise TamperedLogError(f"site {site!r} sent no signed head of its egress log")
        member = self._approved().get(site)
        if member is None or head.site != site or not head_is_signed(head, member.signing_key):
            raise TamperedLogError(
                f"site {site!r}: the head of its egress log is not signed by the key it joined with"
            )
        with self._locked(site):
            known = self.receipt(site)
            _check_order(site, head, after, None if known is None else known.head)
            if known is None or head.sequence > known.head.sequence:
                receipt = countersign(head, self.now().isoformat(timespec="seconds"), self.key)
                write_whole(self._file(site), receipt.text())

    def removed(self) -> frozenset[str]:
        """Sites that were removed: no answer of theirs counts, and none will come."""
        return frozenset(n for n, member in self._known().items() if member.status == "removed")

    def _approved(self) -> Mapping[str, Member]:
        sites = self._known()
        return {name: member for name, member in sites.items() if member.status == "approved"}

    def _known(self) -> Mapping[str, Member]:
        try:
            return self.members.read().sites
        except FederationError as error:
            raise HomeError(error.message, hint=RESUME) from None

    def _file(self, site: str) -> Path:
        return self.folder / f"{site}.json"

    @contextmanager
    def _locked(self, site: str) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / f"{site}.lock"):
                yield
        except OSError as error:
            raise HomeError(
                f"{self._file(site)} cannot be written: {error.strerror or error}", hint=RESUME
            ) from None


def _check_order(site: str, head: Head, after: int, known: Head | None) -> None:
    """Refuse a log that went back, or that holds another entry where one was seen."""
    if head.sequence <= after:
        raise TamperedLogError(
            f"site {site!r}: its egress log went back to entry {head.sequence}; "
            f"entry {after} was seen before: the chain was rewritten"
        )
    if known is not None and head.sequence == known.sequence and head.hash != known.hash:
        raise TamperedLogError(
            f"site {site!r}: entry {head.sequence} of its egress log is another than was seen "
            "before: the chain was rewritten"
        )
