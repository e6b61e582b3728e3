"""Signed heads of an egress log, and the coordinator's countersignature on them (Ed25519).

A head names a log's last entry by number and hash, and so everything before it. The site signs it;
the coordinator countersigns what it received; neither can later tell another story alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedrisk.errors import SiteFolderError, TamperedLogError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_HEAD = b"fedrisk egress head 1\n"
_RECEIPT = b"fedrisk egress receipt 1\n"


def canonical(document: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys and nothing between: what is hashed and signed."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="surrogatepass")  # half a character in a question is logged too


@dataclass(frozen=True, slots=True)
class Head:
    """A log's last entry as its site signed it.

    Attributes
    ----------
    site : str
    sequence : int
        Number of the last entry, from 1.
    hash : str
        SHA-256 of the last entry, in hexadecimal.
    time : str
        ISO 8601.
    key : str
        The site's public signing key, OpenSSH format without a comment.
    signature : str
        Ed25519 over the above, base64; empty before it is signed.
    """

    site: str
    sequence: int
    hash: str
    time: str
    key: str
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the site signs."""
        return _HEAD + canonical({k: v for k, v in asdict(self).items() if k != "signature"})

    def document(self) -> dict[str, Any]:
        """The head as JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Head:
        """Rebuild from `document`.

        Raises
        ------
        TamperedLogError
            When a field is missing, extra or of another type.
        """
        try:
            head = cls(**document)
        except TypeError as error:
            raise TamperedLogError(f"not a signed head: {error}") from None
        texts = (head.site, head.hash, head.time, head.key, head.signature)
        if type(head.sequence) is not int or not all(isinstance(t, str) for t in texts):
            raise TamperedLogError("not a signed head: a field has another type")
        return head


@dataclass(frozen=True, slots=True)
class Receipt:
    """A head that the coordinator has seen, countersigned.

    Attributes
    ----------
    head : Head
    time : str
        When the coordinator received it, ISO 8601.
    signature : str
        Ed25519 over both, base64.
    """

    head: Head
    time: str
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the coordinator signs."""
        return _RECEIPT + canonical({"head": self.head.document(), "time": self.time})

    def text(self) -> str:
        """The receipt as it travels and is stored: one line of JSON."""
        return canonical(asdict(self)).decode()

    @classmethod
    def from_text(cls, text: str) -> Receipt:
        """Read `text`.

        Raises
        ------
        TamperedLogError
            When it is no receipt.
        """
        try:
            document = json.loads(text)
            time, signature = str(document["time"]), str(document["signature"])
            return cls(Head.from_document(document["head"]), time, signature)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise TamperedLogError(f"not a receipt: {error!r}") from None


def read_private(path: Path) -> Ed25519PrivateKey:
    """Read a signing key, OpenSSH format.

    Raises
    ------
    SiteFolderError
        When it is missing or no Ed25519 key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SiteFolderError(f"{path}: no signing key can be read: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SiteFolderError(f"{path}: is not an Ed25519 key")
    return key


def public_text(key: Ed25519PrivateKey) -> str:
    """The public half of a signing key in OpenSSH format: ``ssh-ed25519 BASE64``."""
    from cryptography.hazmat.primitives import serialization

    return (
        key.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


def sign_head(site: str, sequence: int, digest: str, time: str, key: Ed25519PrivateKey) -> Head:
    """Sign a log's head."""
    head = Head(site, sequence, digest, time, public_text(key))
    signature = base64.b64encode(key.sign(head.signed_bytes())).decode()
    return Head(**{**asdict(head), "signature": signature})


def head_is_signed(head: Head, key: str) -> bool:
    """Whether this public key (OpenSSH format) signed the head."""
    return head.key == key and is_signed(key, head.signature, head.signed_bytes())


def countersign(head: Head, time: str, key: Ed25519PrivateKey) -> Receipt:
    """Sign a head that was received; check it first by `head_is_signed`."""
    receipt = Receipt(head, time)
    return Receipt(head, time, base64.b64encode(key.sign(receipt.signed_bytes())).decode())


def receipt_is_signed(receipt: Receipt, key: str) -> bool:
    """Whether this public key (OpenSSH format) countersigned the receipt."""
    return is_signed(key, receipt.signature, receipt.signed_bytes())


def is_signed(key: str, signature: str, content: bytes) -> bool:
    """Whether this public key (OpenSSH format) signed these bytes, by Ed25519 in base64."""
    from cryptography.exceptions import InvalidSignature

    try:
        found = base64.b64decode(signature, validate=True)
        _public(key).verify(found, content)
    except (InvalidSignature, ValueError):
        return False
    return base64.b64encode(found).decode() == signature  # one signature has one form


@lru_cache(maxsize=16)
def _public(key: str) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        found = load_ssh_public_key(key.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    if not isinstance(found, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")
    return found
