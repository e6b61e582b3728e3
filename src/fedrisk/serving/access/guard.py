"""The guard before the endpoints: who asks, may they, and not too often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from fedrisk.errors import AccessError, CredentialsError, RateLimitError
from fedrisk.serving.access.keys import Key, KeyRing, read_keys
from fedrisk.serving.access.rates import Rates

#: Credentials that were checked are remembered, so that a request costs one look-up.
REMEMBERED = 4096


@dataclass(slots=True)
class Principal:
    """Who asks.

    Attributes
    ----------
    key : Key
    running : int
        Requests of this key that are being answered in this process.
    """

    key: Key
    running: int = 0


class Guard:
    """Checks callers against the keys of a home.

    Parameters
    ----------
    path : Path
        The file of keys; changes of it are taken up by `refresh`.
    rates : Rates or None
        None where nothing is limited.
    clock : callable
        The time, with its zone.
    """

    def __init__(self, path: Path, rates: Rates | None, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._rates = rates
        self._clock = clock
        self._stamp: tuple[int, int] | None = None
        self._ring = KeyRing()
        self._remembered: dict[bytes, Principal] = {}
        self._principals: dict[str, Principal] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take up the file's keys where it has changed; expired ones are forgotten.

        Raises
        ------
        HomeError
            When the file is damaged; the keys stay as they were.
        """
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._ring = read_keys(self._path)
            self._stamp = stamp
            self._remembered.clear()
            self._principals = {k: self._renewed(key) for k, key in self._ring.keys.items()}
        now = self._clock()
        for header, principal in list(self._remembered.items()):
            if not principal.key.valid_at(now):
                del self._remembered[header]

    def _renewed(self, key: Key) -> Principal:
        """The same principal, which running requests hold, with the key as it is now."""
        principal = self._principals.get(key.id) or Principal(key)
        principal.key = key
        return principal

    def admit(self, authorization: bytes | None, scope: str) -> Principal:
        """Who asks, if they may.

        Parameters
        ----------
        authorization : bytes or None
            The header of that name, ``Bearer SECRET``.
        scope : str
            What the caller wants to do.

        Raises
        ------
        CredentialsError
            Without a valid key.
        AccessError
            When the key is not for this.
        RateLimitError
            When it asks too much.
        """
        principal = self._remembered.get(authorization or b"")
        if principal is None:
            principal = self._identify(authorization)
        key = principal.key
        if scope not in key.scopes:
            raise AccessError(
                f"API key {key.id} is not for {scope!r}",
                hint=f"it is for {', '.join(key.scopes)}",
            )
        if key.concurrent and principal.running >= key.concurrent:
            raise RateLimitError(
                f"API key {key.id} may have {key.concurrent} requests at the same time"
            )
        if self._rates is not None:
            self._rates.take(key)
        return principal

    def _identify(self, authorization: bytes | None) -> Principal:
        if authorization is None:
            raise CredentialsError(
                "an API key is needed", hint="send the header `Authorization: Bearer KEY`"
            )
        kind, _, secret = authorization.partition(b" ")
        if kind.lower() != b"bearer":
            raise CredentialsError("the Authorization header is not `Bearer KEY`")
        key = self._ring.find(secret.strip().decode("latin-1"), self._clock())
        principal = self._principals[key.id]
        if len(self._remembered) >= REMEMBERED:
            self._remembered.clear()
        self._remembered[authorization] = principal
        return principal


class Guarded:
    """An ASGI application behind the guard.

    Parameters
    ----------
    app : ASGI application
    guard : Guard
    scope : str
        What asking it means, one of `keys.SCOPES`.
    """

    def __init__(self, app: ASGIApp, guard: Guard, scope: str) -> None:
        self._app = app
        self._guard = guard
        self._scope = scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or raise an AccessError."""
        header = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                header = value
                break
        principal = self._guard.admit(header, self._scope)
        scope["key_id"] = principal.key.id
        principal.running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            principal.running -= 1


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino
