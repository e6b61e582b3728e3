"""The headers by which a Flower SuperNode signs each of its calls: made, and read.

As Flower 1.41 has them: the public key (PEM, in Base64), a time, and a signature of that time by
ECDSA with SHA-256. Nothing else of the call is signed; TLS protects the rest.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedrisk.errors import FederationError

PUBLIC_KEY, TIMESTAMP, SIGNATURE = "flwr-public-key", "flwr-timestamp", "flwr-signature"
_NAMES = tuple(name.encode() for name in (PUBLIC_KEY, TIMESTAMP, SIGNATURE))


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a call says it is from; `proven` tells whether that is so.

    Attributes
    ----------
    key : bytes
        Public key, PEM.
    signed : bytes
        What was signed.
    time : datetime
        The same as a time, with its zone.
    signature : bytes
    """

    key: bytes
    signed: bytes
    time: datetime
    signature: bytes

    @classmethod
    def read(cls, headers: Iterable[tuple[bytes, bytes]]) -> Self | None:
        """The claim in a call's headers, names in lower case; None where they hold none.

        Each of the three must be there once: of two, another reader might take the other.
        """
        found = [(name, value) for name, value in headers if name in _NAMES]
        given = dict(found)
        if len(given) != len(_NAMES) or len(found) != len(given):
            return None
        key, stamp, signature = (given[name] for name in _NAMES)
        try:
            time = datetime.fromisoformat(stamp.decode("ascii"))
            proof = b64decode(signature, validate=True)
            claim = cls(b64decode(key, validate=True), stamp, time, proof)
        except (ValueError, binascii.Error):
            return None
        return claim if time.tzinfo is not None else None

    def proven(self, key: ec.EllipticCurvePublicKey) -> bool:
        """Whether the owner of this public key signed."""
        try:
            key.verify(self.signature, self.signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def signed_headers(private: Path, now: datetime) -> dict[str, str]:
    """The headers of a call by the owner of a private key file (P-384, OpenSSH format).

    Raises
    ------
    FederationError
        When the file is missing or holds no such key.
    """
    try:
        key = serialization.load_ssh_private_key(private.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: passphrase
        raise FederationError(f"no private key can be read from {private}: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FederationError(f"{private} is no key of a SuperNode")
    time = now.isoformat()
    signature = key.sign(time.encode("ascii"), ec.ECDSA(hashes.SHA256()))
    return {
        PUBLIC_KEY: b64encode(as_pem(key.public_key())).decode(),
        TIMESTAMP: time,
        SIGNATURE: b64encode(signature).decode(),
    }


def as_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as Flower sends and compares it."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
