"""Keys: for Flower's nodes, for signatures; and fingerprints that people compare."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from fedrisk.durable import write_private
from fedrisk.errors import FederationError

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def make_site_key(folder: Path, site: str) -> tuple[Path, Path]:
    """Make a site's key pair (P-384, as Flower's node authentication wants it).

    Returns
    -------
    private, public : Path
        OpenSSH format; the private key never leaves the folder.
    """
    return _write_pair(folder, site, ec.generate_private_key(ec.SECP384R1()))


def make_signing_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Make an Ed25519 key pair that signs documents, OpenSSH format."""
    return _write_pair(folder, name, ed25519.Ed25519PrivateKey.generate())


def _write_pair(folder: Path, name: str, key: PrivateKey) -> tuple[Path, Path]:
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    write_private(private, data)
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    )
    return private, public


def public_text(private: Path) -> str:
    """The public half of a private key file, OpenSSH format without a comment.

    Raises
    ------
    FederationError
        When the file is missing or holds no key.
    """
    try:
        key = serialization.load_ssh_private_key(private.read_bytes(), None)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise FederationError(f"no private key can be read from {private}: {error}") from None
    encoding, form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(encoding, form).decode()


def check_public_key(text: str, kind: str) -> str:
    """Return a public key in OpenSSH form without its comment.

    Parameters
    ----------
    text : str
        ``TYPE BASE64 [COMMENT]``.
    kind : str
        ``ecdsa-sha2-nistp384`` or ``ssh-ed25519``.

    Raises
    ------
    FederationError
        When it is no such key.
    """
    words = text.split()[:2]
    try:
        if len(words) == 2 and words[0] == kind:
            serialization.load_ssh_public_key(" ".join(words).encode())
            return " ".join(words)
    except (ValueError, UnsupportedAlgorithm):
        pass
    shown = text if len(text) <= 40 else text[:40] + "..."
    raise FederationError(f"not a public key of type {kind}: {shown!r}")


def fingerprint(*keys: str) -> str:
    """160 bits of the SHA-256 of public keys, in groups that two people can read to each other.

    >>> fingerprint("ssh-ed25519 AAAA")
    'TXUK-EMIZ-3NSJ-F32A-KQXL-GQ6A-3CCM-MJ7U'
    """
    digest = hashlib.sha256("\n".join(keys).encode()).digest()[:20]
    text = base64.b32encode(digest).decode()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def sign(private: Path, data: bytes) -> str:
    """Sign by an Ed25519 key file; return the signature in Base64."""
    key = serialization.load_ssh_private_key(private.read_bytes(), None)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise FederationError(f"{private} is not an Ed25519 key")
    return base64.b64encode(key.sign(data)).decode()


def verify(public: str, data: bytes, signature: str) -> bool:
    """Whether the signature is of this data by the owner of an Ed25519 public key."""
    key = serialization.load_ssh_public_key(public.encode())
    if not isinstance(key, ed25519.Ed25519PublicKey):
        return False
    try:
        key.verify(base64.b64decode(signature, validate=True), data)
    except (InvalidSignature, ValueError):
        return False
    return True
