"""API keys: the secret is shown once, the file keeps its SHA-256.

A secret holds 256 random bits, so a fast hash protects it as well as a slow one would: nobody can
try 2^256 secrets. A file that several processes read is replaced in one step when it changes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedrisk.errors import CredentialsError, HomeError, UsageError
from fedrisk.home import Home
from fedrisk.settings import Settings

FORMAT = 1
#: What a key may be for: single predictions; batches and jobs; what changes the service; figures.
SCOPES = ("predict", "batch", "admin", "metrics")
INVALID = 'error="invalid_token"'
PREFIX = "frk"


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the file keeps it.

    Attributes
    ----------
    id : str
        Part of the secret, and what logs name.
    name : str
        Whose it is.
    hash : str
        SHA-256 of the secret, in hexadecimal.
    scopes : tuple of str
        Of `SCOPES`.
    created, expires : str
        ISO 8601; an empty ``expires`` is never.
    per_second : float
        Requests a second that it may make on average; 0 for no limit.
    burst : int
        Requests that it may make at once after a pause.
    concurrent : int
        Requests of its that are answered at the same time; 0 for no limit.
    """

    id: str
    name: str
    hash: str
    scopes: tuple[str, ...]
    created: str
    expires: str = ""
    per_second: float = 0.0
    burst: int = 20
    concurrent: int = 0

    @property
    def end(self) -> datetime | None:
        """From when on it is refused; None for never."""
        return datetime.fromisoformat(self.expires) if self.expires else None

    def valid_at(self, now: datetime) -> bool:
        """Whether it has not expired."""
        end = self.end
        return end is None or now < end


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of a home, by id."""

    keys: Mapping[str, Key] = field(default_factory=dict)

    def find(self, secret: str, now: datetime) -> Key:
        """The key that a secret belongs to.

        Raises
        ------
        CredentialsError
            When it is none of these, or has expired. The message never holds the secret.
        """
        parts = secret.split("_")
        key = self.keys.get(parts[1]) if len(parts) == 3 and parts[0] == PREFIX else None
        given = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
        if key is None or not hmac.compare_digest(given, key.hash):
            raise CredentialsError(
                "the API key is not valid", "`fedrisk keys add` makes one", INVALID
            )
        if not key.valid_at(now):
            raise CredentialsError(
                f"API key {key.id} expired", "`fedrisk keys add` makes another", INVALID
            )
        return key


def make_key(
    name: str,
    scopes: Sequence[str],
    now: datetime,
    *,
    expires: datetime | None = None,
    per_second: float = 0.0,
    burst: int = 20,
    concurrent: int = 0,
) -> tuple[Key, str]:
    """Make a key; return it and its secret, which is nowhere else.

    Raises
    ------
    UsageError
        On an unknown scope, none, or a limit that is negative.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        named = f"unknown scope {unknown[0]!r}" if unknown else "no scope was named"
        raise UsageError(named, hint=f"scopes are {', '.join(SCOPES)}")
    if min(per_second, concurrent) < 0 or burst < 1:
        raise UsageError("a limit is at least 0, and a burst at least 1")
    identifier = secrets.token_hex(4)
    secret = f"{PREFIX}_{identifier}_{secrets.token_hex(32)}"
    key = Key(
        id=identifier,
        name=name,
        hash=hashlib.sha256(secret.encode()).hexdigest(),
        scopes=tuple(dict.fromkeys(scopes)),
        created=now.astimezone(UTC).isoformat(timespec="seconds"),
        expires="" if expires is None else expires.astimezone(UTC).isoformat(timespec="seconds"),
        per_second=per_second,
        burst=burst,
        concurrent=concurrent,
    )
    return key, secret


def keys_file(home: Home, settings: Settings) -> Path:
    """Where the keys of a home's API are; they may come from elsewhere, as a mounted secret."""
    return settings.keys or home.keys


def read_keys(path: Path) -> KeyRing:
    """The keys in a file; none where it is absent.

    Raises
    ------
    HomeError
        When the file is damaged or of a newer format.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] > FORMAT:
            raise HomeError(
                f"{path} has format {document['format']}; this version knows up to {FORMAT}",
                hint="use the newer fedrisk that wrote it",
            )
        keys = [Key(**{**each, "scopes": tuple(each["scopes"])}) for each in document["keys"]]
    except FileNotFoundError:
        return KeyRing()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HomeError(
            f"{path} holds no API keys: {type(error).__name__}", hint="restore it from a backup"
        ) from None
    return KeyRing({key.id: key for key in keys})


def write_keys(path: Path, ring: KeyRing) -> None:
    """Write the file in one step, readable by its owner alone."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "keys": [asdict(key) for key in ring.keys.values()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.part")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def revoke(ring: KeyRing, identifier: str) -> KeyRing:
    """The ring without a key, named by its id or its owner's name.

    Raises
    ------
    UsageError
        When there is none, naming those that there are.
    """
    kept = {k: key for k, key in ring.keys.items() if identifier not in (key.id, key.name)}
    if len(kept) == len(ring.keys):
        known = ", ".join(f"{key.id} ({key.name})" for key in ring.keys.values()) or "none"
        raise UsageError(f"no API key {identifier!r}", hint=f"keys: {known}")
    return KeyRing(kept)


def expire(ring: KeyRing, name: str, end: datetime) -> KeyRing:
    """The ring with the keys of a name ending at a time, as when another takes their place."""
    text = end.astimezone(UTC).isoformat(timespec="seconds")
    return KeyRing(
        {
            k: replace(key, expires=min(filter(None, (key.expires, text))))
            if key.name == name
            else key
            for k, key in ring.keys.items()
        }
    )
