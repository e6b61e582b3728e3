"""Sealed batches: whoever has the public key can write them, whoever has the private key read them.

A file is a sequence of batches, each::

    magic      5 bytes   b"FRSR" and the format's number
    key        8         first bytes of the SHA-256 of the public key
    file       16        random, the same in every batch of a file
    ephemeral  32        public X25519 key of this batch alone
    number     4         place of the batch in its file, from 0, big-endian
    last       1         1 in the file's last batch, which holds no rows, otherwise 0
    length     4         of what follows, big-endian
    sealed     length    AES-256-GCM of the rows as JSON lines, with a 16-byte tag

The AES key is HKDF-SHA256 of the X25519 secret between the ephemeral and the recipient's key, with
both public keys as salt. It seals one batch, so the nonce is zero. Everything before ``sealed`` is
authenticated with it: a batch that was changed, moved to another place or to another file does not
open, and a file that lost its end has no last batch.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedrisk.errors import HomeError, UsageError

MAGIC = b"FRSR\x01"
HEAD = struct.Struct(">5s8s16s32sIBI")
#: No batch is longer; a length beyond it is damage.
LONGEST = 64 << 20
_NONCE = bytes(12)
_RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw
_PEM = serialization.Encoding.PEM


def make_keys(private: Path) -> Path:
    """Write a private key, and beside it, as ``NAME.pub``, its public key.

    Raises
    ------
    UsageError
        When a file is there already, or cannot be written.
    """
    key, public = X25519PrivateKey.generate(), private.with_name(f"{private.name}.pub")
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    told = key.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        for file, mode, content in (
            (private, 0o600, key.private_bytes(_PEM, *form)),
            (public, 0o644, told),
        ):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
    except OSError as error:
        raise UsageError(f"no keys are made: {error}") from None
    return public


def read_public(file: Path) -> X25519PublicKey:
    """The recipient's public key.

    Raises
    ------
    UsageError
        When it cannot be read, or is a private key: that must not be on the server.
    """
    content = _read(file)
    if b"PRIVATE KEY" in content:
        raise UsageError(
            f"{file} is a private key; a server seals for a public one",
            hint="`fedrisk record keygen` writes both; only NAME.pub belongs on the server",
        )
    try:
        key = serialization.load_pem_public_key(content)
    except ValueError:
        key = None
    if not isinstance(key, X25519PublicKey):
        raise UsageError(f"{file} holds no public X25519 key in PEM")
    return key


def read_private(file: Path) -> X25519PrivateKey:
    """The recipient's private key.

    Raises
    ------
    UsageError
        When it cannot be read, or is something else.
    """
    try:
        key = serialization.load_pem_private_key(_read(file), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, X25519PrivateKey):
        raise UsageError(f"{file} holds no private X25519 key in PEM without a password")
    return key


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"the key cannot be read: {error}") from None


class Sealer:
    """Seals the batches of one file, in order."""

    def __init__(self, recipient: X25519PublicKey) -> None:
        self._recipient = recipient
        self._file = os.urandom(16)
        self.number = 0

    def seal(self, rows: bytes, *, last: bool = False) -> bytes:
        """The next batch; it has its number once `sealed` is called.

        Parameters
        ----------
        rows : bytes
            At most `LONGEST`, less a tag.
        """
        ephemeral = X25519PrivateKey.generate()
        recipient, own = (k.public_bytes(*_RAW) for k in (self._recipient, ephemeral.public_key()))
        length = len(rows) + 16
        identity = (MAGIC, _name(recipient), self._file, own)
        head = HEAD.pack(*identity, self.number, last, length)
        cipher = _cipher(ephemeral.exchange(self._recipient), own, recipient)
        return head + cipher.encrypt(_NONCE, rows, head)

    def sealed(self) -> None:
        """The last batch is in the file: the next one takes the next place."""
        self.number += 1


def open_batches(stream: IO[bytes], name: str, key: X25519PrivateKey) -> Iterator[bytes]:
    """The rows of every batch of a file; an empty one tells that the file is whole.

    Parameters
    ----------
    stream : binary file
    name : str
        For errors.
    key : X25519PrivateKey

    Raises
    ------
    HomeError
        When a batch was changed, moved, cut short, or sealed for another key.
    """
    file, ended = None, False
    for number, (head, sealed) in enumerate(_batches(stream, name)):
        magic, recipient, found, own, given, last, _ = HEAD.unpack(head)
        public = key.public_key().public_bytes(*_RAW)
        if recipient != _name(public):
            raise HomeError(f"{name} is sealed for another key than the one given")
        file = found if file is None else file
        if ended or (magic, given, found) != (MAGIC, number, file):
            raise _damaged(name, number, "is not the one that was written there")
        try:
            secret = key.exchange(X25519PublicKey.from_public_bytes(own))
            rows = _cipher(secret, own, public).decrypt(_NONCE, sealed, head)
        except (InvalidTag, ValueError):
            raise _damaged(name, number, "was changed") from None
        ended = bool(last)
        yield rows


def _batches(stream: IO[bytes], name: str) -> Iterator[tuple[bytes, bytes]]:
    number = 0
    while head := stream.read(HEAD.size):
        length = HEAD.unpack(head)[-1] if len(head) == HEAD.size else LONGEST + 1
        sealed = stream.read(length) if length <= LONGEST else b""
        if len(sealed) != length:
            raise _damaged(name, number, "is cut short")
        yield head, sealed
        number += 1


def _damaged(name: str, number: int, what: str) -> HomeError:
    return HomeError(
        f"{name}: batch {number} {what}", hint="what came before it is whole; restore the file"
    )


def _name(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:8]


def _cipher(secret: bytes, ephemeral: bytes, recipient: bytes) -> AESGCM:
    salt, info = ephemeral + recipient, b"fedrisk sealed record 1"
    return AESGCM(HKDF(hashes.SHA256(), 32, salt, info).derive(secret))
