from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrisk.errors import (
    AccessError,
    CredentialsError,
    HomeError,
    IssuerError,
    RateLimitError,
)
from fedrisk.serving.access.guard import ANY, Guard, Guarded
from fedrisk.serving.access.jwks import IssuerKeys, Renewal, from_issuer
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.access.rates import Rates
from fedrisk.serving.access.running import Running
from fedrisk.serving.access.tokens import TokenRules, Tokens

from .issuing import AUDIENCE, Issuer, issuing, published, signed

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    time = NOW

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def put(path: Path, *scopes: str, **limits) -> bytes:
    """A file with one key; its header."""
    key, secret = make_key("app", scopes, NOW, **limits)
    write_keys(path, KeyRing({key.id: key}))
    return f"Bearer {secret}".encode()


def test_a_key_is_for_its_scopes(path: Path) -> None:
    header = put(path, "predict")
    guard = Guard(path, None, Clock())
    for _ in range(2):  # from the file, then from memory
        assert guard.admit(header, "predict").key.name == "app"
        with pytest.raises(AccessError, match="not for 'admin'"):
            guard.admit(header, "admin")


@pytest.mark.parametrize("header", [None, b"", b"Bearer", b"Bearer x", b"Basic YTpi", b"\xff\xfe"])
def test_without_a_valid_key_nobody_comes_in(path: Path, header: bytes | None) -> None:
    put(path, "predict")
    with pytest.raises(CredentialsError):
        Guard(path, None, Clock()).admit(header, "predict")


def test_a_changed_file_is_taken_up_without_a_restart(path: Path) -> None:
    old = put(path, "predict")
    guard = Guard(path, None, Clock())
    guard.admit(old, "predict")
    new = put(path, "predict")
    guard.refresh()
    guard.admit(new, "predict")
    with pytest.raises(CredentialsError):
        guard.admit(old, "predict")


def test_a_damaged_file_leaves_the_keys_as_they_were(path: Path) -> None:
    header = put(path, "predict")
    guard = Guard(path, None, Clock())
    path.write_text("{")
    with pytest.raises(HomeError):
        guard.refresh()
    assert guard.admit(header, "predict")


def test_a_remembered_key_ends_too(path: Path) -> None:
    clock = Clock()
    header = put(path, "predict", expires=NOW + timedelta(minutes=1))
    guard = Guard(path, None, clock)
    guard.admit(header, "predict")
    clock.time = NOW + timedelta(minutes=2)
    with pytest.raises(CredentialsError, match="expired"):
        guard.admit(header, "predict")


def test_a_key_that_asks_too_much_is_told(path: Path, tmp_path: Path) -> None:
    header = put(path, "predict", per_second=0.001, burst=3)
    with Rates(tmp_path / "rates", lambda: 5.0) as rates:
        guard = Guard(path, rates, Clock())
        for _ in range(3):
            guard.admit(header, "predict")
        with pytest.raises(RateLimitError):
            guard.admit(header, "predict")


def test_requests_at_the_same_time_are_limited_and_counted_down(path: Path, tmp_path: Path) -> None:
    header = put(path, "predict", concurrent=2)
    running = Running(tmp_path / "running", lambda: 5.0)
    guard = Guard(path, None, Clock(), running=running)
    release = asyncio.Event()

    async def slow(scope, receive, send) -> None:
        await release.wait()

    guarded = Guarded(slow, guard, "predict")
    scope = {"headers": [(b"authorization", header)]}

    async def scenario() -> None:
        running = [asyncio.create_task(guarded(dict(scope), None, None)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RateLimitError):
            await guarded(dict(scope), None, None)
        release.set()
        await asyncio.gather(*running)
        await guarded(dict(scope), None, None)

    asyncio.run(scenario())
    running.close()


def tokens_of(issuer: Issuer, clock) -> Tokens:
    keys = IssuerKeys(from_issuer(issuer.url), clock, Renewal(unknown=30))
    return Tokens(TokenRules(issuer.url, AUDIENCE), keys)


def asking(guard: Guard, token: str, scope: str = "predict") -> str:
    """Whom the guard lets through, as a request's scope tells it."""
    seen = []

    async def endpoint(scope, receive, send) -> None:
        seen.append(scope["key_id"])

    guarded = Guarded(endpoint, guard, scope)
    header = f"Bearer {token}".encode()
    asyncio.run(guarded({"headers": [(b"authorization", header)]}, None, None))
    return seen[0]


def real_time() -> datetime:
    return datetime.now(UTC)


def test_keys_and_tokens_are_taken_beside_each_other(path: Path) -> None:
    header = put(path, "predict")
    with issuing() as issuer:
        guard = Guard(path, None, Clock(), tokens=tokens_of(issuer, lambda: 0.0))
        assert asking(guard, signed(issuer.url)).startswith("sub-")
        assert guard.admit(header, "predict").key.name == "app"
        with pytest.raises(CredentialsError, match="API key"):
            guard.admit(b"Bearer frk_a_b", "predict")


def test_a_token_is_verified_once_and_ends(path: Path) -> None:
    clock = Clock()
    clock.time = datetime.now(UTC)
    with issuing() as issuer:
        tokens = tokens_of(issuer, lambda: 0.0)
        guard = Guard(path, None, clock, tokens=tokens)
        token = signed(issuer.url, exp=int(clock.time.timestamp()) + 600)
        asking(guard, token)
        identify, times = tokens.identify, []
        tokens.identify = lambda t: times.append(1) or identify(t)
        asking(guard, token)
        assert times == []
        clock.time += timedelta(seconds=661)
        asking(guard, token)  # asked again, of the library, by whose clock it is still good
        assert times == [1]


def test_rotated_keys_are_taken_up_and_old_ones_refused(path: Path) -> None:
    seconds = [0.0]
    with issuing() as issuer:
        guard = Guard(path, None, real_time, tokens=tokens_of(issuer, lambda: seconds[0]))
        old, new = signed(issuer.url), signed(issuer.url, "RS256", "b")
        asking(guard, old)
        issuer.keys = [published("RS256", "b")]
        with pytest.raises(CredentialsError):  # the interval since the last fetch is not over
            asking(guard, new)
        seconds[0] += 31
        asking(guard, new)
        guard.refresh()
        with pytest.raises(CredentialsError):
            asking(guard, old)
        assert len(issuer.asked) == 4


def test_an_issuer_that_is_away_from_the_start_is_not_the_callers_fault(path: Path) -> None:
    header = put(path, "predict")
    with issuing() as issuer:
        issuer.away = True
        seconds = [0.0]
        guard = Guard(path, None, Clock(), tokens=tokens_of(issuer, lambda: seconds[0]))
        with pytest.raises(IssuerError):
            asking(guard, signed(issuer.url))
        assert guard.admit(header, "predict")
        issuer.away = False
        seconds[0] += 10
        assert asking(guard, signed(issuer.url))


def test_a_token_without_the_scope_is_told_which(path: Path) -> None:
    with issuing() as issuer:
        guard = Guard(path, None, real_time, tokens=tokens_of(issuer, lambda: 0.0))
        with pytest.raises(AccessError) as told:
            asking(guard, signed(issuer.url), "batch")
        assert told.value.challenge == 'error="insufficient_scope", scope="batch"'
        assert asking(guard, signed(issuer.url, scope="mail"), ANY)


def test_a_remembered_key_ends_also_while_the_file_is_damaged(path: Path) -> None:
    clock = Clock()
    header = put(path, "predict", expires=NOW + timedelta(minutes=1))
    guard = Guard(path, None, clock)
    guard.admit(header, "predict")
    path.write_text("{")
    with pytest.raises(HomeError):
        guard.refresh()
    clock.time = NOW + timedelta(minutes=1)
    with pytest.raises(CredentialsError):
        guard.admit(header, "predict")


def test_a_refused_rate_leaves_nothing_running(path: Path, tmp_path: Path) -> None:
    header = put(path, "predict", per_second=0.001, burst=1, concurrent=1)
    with (
        Rates(tmp_path / "rates", lambda: 5.0) as rates,
        Running(tmp_path / "running", lambda: 5.0) as running,
    ):
        guard = Guard(path, rates, Clock(), running=running)
        guard.admit(header, "predict").leave()
        for _ in range(3):
            with pytest.raises(RateLimitError, match="a second"):
                guard.admit(header, "predict")
