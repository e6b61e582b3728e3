"""The issuer's keys: which are taken, when they are fetched, and what holds while it is away."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fedrisk.errors import IssuerError, UsageError
from fedrisk.serving.access.jwks import (
    IssuerKeys,
    Renewal,
    UnknownSignerError,
    from_file,
    from_issuer,
    usable_keys,
)

from .issuing import issuing, private_key, published

A, B = published("ES256", "a"), published("RS256", "b")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Fetching:
    """A source that counts how often it was asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.away = False

    def __call__(self) -> dict[str, Any]:
        self.asked += 1
        if self.away:
            raise OSError("away")
        return {"keys": self.keys}


def renew(keys: IssuerKeys, *, unknown: bool = False) -> bool:
    return asyncio.run(keys.renew(unknown=unknown))


def test_keys_that_sign_are_taken_and_others_passed_over() -> None:
    secret = {"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"}
    others = [
        secret,
        {**A, "kid": 5},
        {k: v for k, v in A.items() if k != "kid"},
        {**A, "kid": "enc", "use": "enc"},
        {**B, "kid": "ps", "alg": "PS256"},
        {**B, "kid": "hs", "alg": "HS256"},
        {**B, "kid": "none", "alg": "none"},
        {"kty": "EC", "kid": "p384", "crv": "P-384", "x": "AA", "y": "AA"},
        {**A, "kid": "broken", "x": "!"},
        published("RS256", "short", 0, 1024),
        "a",
        None,
    ]
    assert set(usable_keys({"keys": [A, *others, B]})) == {"a", "b"}


def test_a_private_part_that_is_published_is_not_kept() -> None:
    from jwt.algorithms import ECAlgorithm

    whole = {**ECAlgorithm.to_jwk(private_key("ES256"), as_dict=True), "kid": "a"}
    assert "d" in whole
    key = usable_keys({"keys": [whole]})["a"]
    assert "d" not in key._jwk_data
    assert not hasattr(key.key, "private_numbers")


@pytest.mark.parametrize("document", [None, [], {}, {"keys": None}, {"keys": []}, {"keys": [{}]}])
def test_a_document_without_keys_leaves_those_known(document: Any) -> None:
    fetching = Fetching(A)
    keys = IssuerKeys(fetching, Clock())
    keys.load()
    keys._source = lambda: document
    with pytest.raises(ValueError, match=r"."):
        keys.load()
    assert keys.find("a")


def test_the_schedule() -> None:
    clock, fetching = Clock(), Fetching(A)
    keys = IssuerKeys(fetching, clock, Renewal(schedule=300, retry=10))
    assert renew(keys)
    clock.seconds += 299
    assert not renew(keys)
    clock.seconds += 1
    fetching.away = True
    assert renew(keys)
    clock.seconds += 9
    assert not renew(keys)
    clock.seconds += 1
    assert renew(keys)
    assert fetching.asked == 3


def test_unknown_keys_ask_at_most_once_an_interval() -> None:
    clock, fetching = Clock(), Fetching(A)
    keys = IssuerKeys(fetching, clock, Renewal(schedule=300, unknown=30))
    renew(keys)
    fetching.keys = [B]
    for _ in range(50):
        assert not renew(keys, unknown=True)
    clock.seconds += 30
    assert renew(keys, unknown=True)
    assert not renew(keys, unknown=True)
    assert keys.find("b")
    with pytest.raises(UnknownSignerError):
        keys.find("a")
    assert (fetching.asked, keys.generation) == (2, 2)


def test_many_who_wait_wait_for_one_fetch() -> None:
    fetching = Fetching(A)
    keys = IssuerKeys(fetching, Clock())

    async def many() -> list[bool]:
        return await asyncio.gather(*(keys.renew(unknown=True) for _ in range(20)))

    assert all(asyncio.run(many()))
    assert fetching.asked == 1


def test_who_goes_away_does_not_end_the_fetch() -> None:
    fetching = Fetching(A)
    keys = IssuerKeys(fetching, Clock())

    async def scenario() -> None:
        going = asyncio.create_task(keys.renew())
        await asyncio.sleep(0)
        staying = asyncio.create_task(keys.renew())
        await asyncio.sleep(0)
        going.cancel()
        assert await staying

    asyncio.run(scenario())
    assert keys.find("a")


def test_away_the_known_keys_go_on_for_their_age_and_no_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, fetching = Clock(), Fetching(A)
    keys = IssuerKeys(fetching, clock, Renewal(schedule=300, retry=10, oldest=3600))
    with pytest.raises(IssuerError):
        keys.find("a")
    renew(keys)
    fetching.away = True
    while clock.seconds < 1000 + 3600:
        clock.seconds += 300
        renew(keys)
        assert keys.find("a")
    clock.seconds += 1
    with pytest.raises(IssuerError, match="not known"):
        keys.find("a")
    assert [r.message for r in caplog.records].count(caplog.records[0].message) == 1
    fetching.away = False
    clock.seconds += 10
    renew(keys)
    assert keys.find("a")


def test_the_same_keys_again_change_nothing() -> None:
    keys = IssuerKeys(Fetching(A), Clock())
    keys.load()
    keys.load()
    assert keys.generation == 1


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [A]}))
    assert usable_keys(from_file(file)()).keys() == {"a"}


def test_an_issuer_says_where_its_keys_are() -> None:
    with issuing() as issuer:
        assert usable_keys(from_issuer(issuer.url)()).keys() == {"a"}
        assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def test_an_issuer_that_is_another_away_or_sends_elsewhere_is_not_believed() -> None:
    with issuing() as issuer:
        fetch = from_issuer(issuer.url)
        issuer.named = "https://other.example.org"
        with pytest.raises(ValueError, match="another issuer"):
            fetch()
        issuer.named = None
        issuer.redirect = True
        with pytest.raises(OSError, match="302"):
            fetch()
        assert "/elsewhere" not in issuer.asked
        issuer.away = True
        with pytest.raises(OSError, match="503"):
            fetch()
    with pytest.raises(OSError, match="refused"):
        fetch()


@pytest.mark.parametrize(
    "url", ["http://id.example.org", "ftp://a", "id.example.org", "https://", "http://[::1", ""]
)
def test_an_issuer_that_others_could_answer_for_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="https"):
        from_issuer(url)
