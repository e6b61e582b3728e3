"""The guard that a home's keys and the settings ask for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from time import monotonic
from typing import Any

from fedrisk.errors import HomeError, UsageError
from fedrisk.home import Home
from fedrisk.serving.access.guard import Guard
from fedrisk.serving.access.jwks import OF_A_FILE, IssuerKeys, from_file, from_issuer
from fedrisk.serving.access.keys import keys_file
from fedrisk.serving.access.rates import NOTHING, Rates
from fedrisk.serving.access.running import Running
from fedrisk.serving.access.shares import Shares, sharing
from fedrisk.serving.access.tokens import TokenRules, Tokens, read_scopes
from fedrisk.serving.champion import now
from fedrisk.settings import Settings


def needs_credentials(home: Home, settings: Settings) -> bool:
    """Whether callers must prove who they are, so that others than this machine may be served."""
    # Of a file that is named and not there nobody may conclude that everybody is admitted.
    named = settings.keys is not None or home.keys.exists()
    return named or bool(settings.oidc_issuer)


def make_guard(home: Home, settings: Settings) -> Guard | None:
    """The guard; None where everybody is admitted.

    Raises
    ------
    HomeError
        When the file of keys is damaged, or named and not there: then nobody is admitted, and
        nothing starts.
    UsageError
        When the issuer's settings do not fit together.
    """
    if not needs_credentials(home, settings):
        return None
    keys = keys_file(home, settings)
    if settings.keys is not None and not keys.is_file():
        raise HomeError(
            f"FEDRISK_KEYS names {keys}, and no file is there", hint="`fedrisk keys add` makes it"
        )
    tokens = make_tokens(settings)
    rates = Rates(home.serving / "rates", monotonic)
    running = Running(home.serving / "running", monotonic)
    sharing = make_sharing(home, settings, rates)
    return Guard(keys, rates, now, running=running, tokens=tokens, sharing=sharing)


def make_sharing(
    home: Home, settings: Settings, rates: Rates
) -> Callable[[], Coroutine[Any, Any, None]] | None:
    """What shares limits with other replicas; None where no database is named."""
    if not settings.database_url:
        rates.set_shares(0.0, {})
        return None
    url = settings.database(home.state)
    if not rates.base:
        rates.set_shares(NOTHING, {})

    def make() -> Shares:
        from fedrisk.serving.access.share_store import DatabaseClaims

        return Shares(replica_name(home, settings), rates, DatabaseClaims(url), monotonic)

    return lambda: sharing(home.serving / "shares.lock", make)


def replica_name(home: Home, settings: Settings) -> str:
    """A name that no other replica has, and that a restart keeps."""
    place = blake2b(str(home.root.resolve()).encode(), digest_size=4).hexdigest()
    return f"{socket.gethostname()}:{settings.replica}:{place}"[-200:]


def make_tokens(settings: Settings) -> Tokens | None:
    """What checks tokens; None where no issuer is named.

    Raises
    ------
    UsageError
    """
    if not settings.oidc_issuer:
        if settings.oidc_audience or settings.oidc_jwks:
            raise UsageError("FEDRISK_OIDC_ISSUER is missing, and its audience or keys are not")
        return None
    if not settings.oidc_audience:
        raise UsageError(
            "FEDRISK_OIDC_ISSUER needs FEDRISK_OIDC_AUDIENCE",
            hint="the issuer's name for this API; without it a token for any other would do",
        )
    rules = TokenRules(
        settings.oidc_issuer,
        settings.oidc_audience,
        read_scopes(settings.oidc_scopes),
        settings.oidc_rate,
        settings.oidc_burst,
        settings.oidc_concurrent,
    )
    return Tokens(rules, _keys(settings))


def _keys(settings: Settings) -> IssuerKeys:
    """Keys of a file are read now; an issuer may be away when a server starts."""
    if settings.oidc_jwks is None:
        return IssuerKeys(from_issuer(settings.oidc_issuer), monotonic)
    keys = IssuerKeys(from_file(settings.oidc_jwks), monotonic, OF_A_FILE)
    try:
        keys.load()
    except (OSError, ValueError) as error:
        raise UsageError(f"FEDRISK_OIDC_JWKS {settings.oidc_jwks}: {error}") from None
    return keys
