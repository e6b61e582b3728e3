from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrisk.errors import AccessError, CredentialsError, HomeError, RateLimitError
from fedrisk.serving.access.guard import Guard, Guarded
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.access.rates import Rates

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
    guard.refresh()
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


def test_requests_at_the_same_time_are_limited_and_counted_down(path: Path) -> None:
    header = put(path, "predict", concurrent=2)
    guard = Guard(path, None, Clock())
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
