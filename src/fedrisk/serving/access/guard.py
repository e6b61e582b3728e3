"""The guard before the endpoints: who asks, may they, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fedrisk.errors import AccessError, CredentialsError, IssuerError
from fedrisk.serving.access.jwks import UnknownSignerError
from fedrisk.serving.access.keys import PREFIX, Key, KeyRing, read_keys
from fedrisk.serving.access.rates import Rates
from fedrisk.serving.access.running import Running
from fedrisk.serving.access.tokens import Tokens
from fedrisk.serving.transport import MustWaitError, header

#: Credentials that were checked are remembered, so that a request costs one look-up.
REMEMBERED = 4096
#: The scope of what every caller with a valid key or token may ask.
ANY = ""
_OURS = f"{PREFIX}_"


@dataclass(slots=True)
class Principal:
    """Who asks; as a context, their request, which `leave` ends.

    Attributes
    ----------
    key : Key
        Theirs, or what their token comes to.
    until : datetime or None
        From when on they are nobody again.
    """

    key: Key
    until: datetime | None = field(default=None, kw_only=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """End the request."""


@dataclass(slots=True)
class CountedRequest(Principal):
    """One request of a caller who may have so many at the same time."""

    running: Running
    place: int

    def leave(self) -> None:
        """End the request: another may come."""
        self.running.leave(self.place)


class Guard:
    """Checks callers against the keys of a home, and tokens against their issuer's.

    Parameters
    ----------
    path : Path
        The file of keys; changes of it are taken up by `refresh`.
    rates : Rates or None
        None where rates are not limited.
    clock : callable
        The time, with its zone.
    running : Running or None
        None where requests at the same time are not limited.
    tokens : Tokens or None
        None where tokens are not taken.
    sharing : callable or None
        Shares limits with other replicas for as long as it runs.
    """

    def __init__(
        self,
        path: Path,
        rates: Rates | None,
        clock: Callable[[], datetime],
        *,
        running: Running | None = None,
        tokens: Tokens | None = None,
        sharing: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._path = path
        self._rates = rates
        self._clock = clock
        self._running = running
        self._tokens = tokens
        self._sharing = sharing
        self._stamp: tuple[int, int] | None = None
        self._signers: tuple[int, bool] | None = None
        self._ring = KeyRing()
        self._remembered: dict[bytes, Principal] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take up the keys of file and issuer where they have changed.

        Raises
        ------
        HomeError
            When the file is damaged; the keys stay as they were.
        """
        if self._tokens is not None:
            signers = (self._tokens.keys.generation, self._tokens.keys.usable)
            if signers != self._signers:
                self._signers = signers
                self._remembered.clear()
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._ring = read_keys(self._path)
            self._stamp = stamp
            self._remembered.clear()

    async def watch(self, seconds: float) -> None:
        """Keep the issuer's keys and this machine's shares fresh for ever, where there are any."""
        work = [] if self._tokens is None else [self._tokens.keys.watch(seconds)]
        work += [] if self._sharing is None else [self._sharing()]
        await asyncio.gather(*work)

    def admit(self, authorization: bytes | None, scope: str) -> Principal:
        """Who asks, if they may; whoever calls this calls `Principal.leave` at the request's end.

        Parameters
        ----------
        authorization : bytes or None
            The header of that name, ``Bearer SECRET``.
        scope : str
            What the caller wants to do; `ANY` for what every known caller may.

        Raises
        ------
        CredentialsError
            Without a valid key or token.
        AccessError
            When it is not for this.
        RateLimitError
            When it asks too much.
        IssuerError
            While tokens cannot be judged.
        """
        principal = self._remembered.get(authorization or b"")
        if principal is None or (principal.until is not None and self._clock() >= principal.until):
            principal = self._identify(authorization)
        try:
            return self._let_in(principal, scope)
        except AccessError as error:
            error.key_id = principal.key.id
            raise

    def _let_in(self, principal: Principal, scope: str) -> Principal:
        key = principal.key
        if scope and scope not in key.scopes:
            raise AccessError(
                f"API key {key.id} is not for {scope!r}",
                f"it is for {', '.join(key.scopes) or 'nothing here'}",
                f'error="insufficient_scope", scope="{scope}"',
            )
        if key.concurrent and self._running is not None:
            limit = key.concurrent if self._rates is None else self._rates.concurrent(key)
            principal = CountedRequest(key, self._running, self._running.enter(key, limit))
        if self._rates is not None and key.per_second:
            try:
                self._rates.take(key)
            except BaseException:
                principal.leave()
                raise
        return principal

    async def admit_renewed(self, authorization: bytes | None, scope: str) -> Principal:
        """As `admit`, after a look at the issuer's keys, where one is due."""
        if self._tokens is not None:
            await self._tokens.keys.renew(unknown=True)
        return self.admit(authorization, scope)

    def _identify(self, authorization: bytes | None) -> Principal:
        if authorization is None:
            raise CredentialsError(
                "an API key is needed", hint="send the header `Authorization: Bearer KEY`"
            )
        kind, _, rest = authorization.partition(b" ")
        if kind.lower() != b"bearer":
            raise CredentialsError("the Authorization header is not `Bearer KEY`")
        secret = rest.strip().decode("latin-1")
        if self._tokens is None or secret.startswith(_OURS):
            key = self._ring.find(secret, self._clock())
        else:
            key = self._tokens.identify(secret)
        if len(self._remembered) >= REMEMBERED:
            self._remembered.clear()
        principal = self._remembered[authorization] = Principal(key, until=key.end)
        return principal


class Guarded:
    """An ASGI application behind the guard.

    Parameters
    ----------
    app : ASGI application
    guard : Guard
    scope : str
        What asking it means, one of `keys.SCOPES`, or `ANY`.
    """

    def __init__(self, app: ASGIApp, guard: Guard, scope: str) -> None:
        self._app = app
        self._guard = guard
        self._scope = scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or raise an AccessError."""
        given = header(scope, b"authorization")
        try:
            principal = self._admit(scope, given)
        except (UnknownSignerError, IssuerError):
            principal = await self._guard.admit_renewed(given, self._scope)
            _name(scope, principal)
        try:
            await self._app(scope, receive, send)
        finally:
            principal.leave()

    def at_once(self, scope: Scope, body: bytes) -> bytes:
        """Answer a whole request, or raise an AccessError; the application must be `AtOnce`.

        Raises
        ------
        MustWaitError
            When the issuer's keys have to be looked at first.
        """
        try:
            principal = self._admit(scope, header(scope, b"authorization"))
        except (UnknownSignerError, IssuerError):
            raise MustWaitError from None
        endpoint: Any = self._app
        try:
            answer: bytes = endpoint.at_once(scope, body)
            return answer
        finally:
            principal.leave()

    def _admit(self, scope: Scope, given: bytes | None) -> Principal:
        try:
            principal = self._guard.admit(given, self._scope)
        except (UnknownSignerError, IssuerError):
            raise
        except AccessError as error:
            scope["key_id"] = error.key_id
            raise
        _name(scope, principal)
        return principal


def _name(scope: Scope, principal: Principal) -> None:
    """Tell whoever comes after who asks."""
    scope["key_id"], scope["key_scopes"] = principal.key.id, principal.key.scopes


def guard_routes(routes: list[BaseRoute], guard: Guard, scopes: Mapping[str, str]) -> None:
    """Put routes that are there already behind the guard, by their paths."""
    for route in routes:
        if isinstance(route, Route) and route.path in scopes:
            route.app = Guarded(route.app, guard, scopes[route.path])


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino
