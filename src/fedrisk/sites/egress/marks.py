"""A signed note of how an egress log's files looked when the log itself last wrote them.

Where they look the same still (inode, size, times of change, which the kernel sets), what the log
was last found to be holds without reading it again. The mark saves work and proves little by
itself: where it is missing or does not fit, the log is checked in whole. A change that also sets
the clock back, or falls within the same tick (milliseconds) as the log's own write, shows at the
next full check.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fedrisk import durable
from fedrisk.attestation import canonical, is_signed, public_text
from fedrisk.sites.egress.files import stamp

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MARK = b"fedrisk egress mark 1\n"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a log ends.

    Attributes
    ----------
    sequence : int
        Number of the last entry; 0 before the first.
    hash : str
        Of the last entry.
    end : int
        Bytes of the log's whole lines.
    countersigned : int
        Number of the last entry that a receipt is kept for; 0 for none.
    receipts_end : int
        Bytes of the receipts' whole lines.
    """

    sequence: int
    hash: str
    end: int
    countersigned: int
    receipts_end: int

    def after(self, digest: str, size: int) -> Place:
        """The place after one more entry of so many bytes."""
        return replace(self, sequence=self.sequence + 1, hash=digest, end=self.end + size)

    def countersigned_to(self, sequence: int, size: int) -> Place:
        """The place after one more receipt of so many bytes."""
        return replace(self, countersigned=sequence, receipts_end=self.receipts_end + size)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place, and how the files looked there.

    Attributes
    ----------
    place : Place
    stamps : list
        One for each of the log's files, in their order.
    """

    place: Place
    stamps: list[list[int]]

    @classmethod
    def make(cls, place: Place, files: Sequence[Path]) -> Self:
        """Note how the files look now."""
        return cls(place, [list(stamp(file)) for file in files])

    def holds(self, files: Sequence[Path]) -> bool:
        """Whether the files look the same still, and end where the place says."""
        ends = [self.place.end, None, self.place.receipts_end]
        now = [list(stamp(file)) for file in files]
        sizes = [found[1] if found else 0 for found in now]
        return now == self.stamps and all(
            end is None or end == size for end, size in zip(ends, sizes, strict=True)
        )

    def write(self, path: Path, key: Ed25519PrivateKey) -> None:
        """Write the mark, signed."""
        document: dict[str, Any] = asdict(self)
        signature = base64.b64encode(key.sign(_MARK + canonical(document))).decode()
        content = canonical(document | {"signature": signature})
        durable.replace(path, content, durable=False)

    @classmethod
    def read(cls, path: Path, key: Ed25519PrivateKey) -> Self | None:
        """Read a mark; None where there is none, or none that this key signed."""
        try:
            document = json.loads(path.read_bytes())
            signature = document.pop("signature")
            if not is_signed(public_text(key), signature, _MARK + canonical(document)):
                return None
            return cls(Place(**document["place"]), document["stamps"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
