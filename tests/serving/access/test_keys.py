from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrisk.errors import CredentialsError, HomeError, UsageError
from fedrisk.serving.access.keys import KeyRing, expire, make_key, read_keys, revoke, write_keys

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ring(*keys) -> KeyRing:
    return KeyRing({key.id: key for key in keys})


def test_a_secret_is_found_and_is_nowhere_in_the_file(tmp_path: Path) -> None:
    key, secret = make_key("app", ["predict"], NOW)
    path = tmp_path / "keys.json"
    write_keys(path, ring(key))
    assert secret not in path.read_text()
    assert secret.split("_")[2] not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert read_keys(path).find(secret, NOW) == key


@pytest.mark.parametrize(
    "change", [lambda s: s[:-1], lambda s: s + "0", lambda s: s[::-1], str.upper]
)
def test_another_secret_is_refused_without_being_told(change) -> None:
    key, secret = make_key("app", ["predict"], NOW)
    with pytest.raises(CredentialsError, match="not valid") as refused:
        ring(key).find(change(secret), NOW)
    assert change(secret) not in refused.value.message + refused.value.hint


@pytest.mark.parametrize("secret", ["", "frk", "frk__", "a_b_c", "frk_é_é", "\x00", "_" * 50])
def test_what_is_no_secret_is_refused(secret: str) -> None:
    with pytest.raises(CredentialsError):
        ring(make_key("app", ["predict"], NOW)[0]).find(secret, NOW)


def test_a_key_ends() -> None:
    key, secret = make_key("app", ["predict"], NOW, expires=NOW + timedelta(days=1))
    assert ring(key).find(secret, NOW + timedelta(hours=23)) == key
    with pytest.raises(CredentialsError, match="expired"):
        ring(key).find(secret, NOW + timedelta(days=1))


def test_a_name_gets_another_key_and_both_work_until_the_old_one_ends() -> None:
    old, old_secret = make_key("app", ["predict"], NOW)
    new, new_secret = make_key("app", ["predict"], NOW)
    other, _ = make_key("other", ["predict"], NOW)
    later = expire(ring(old, other), "app", NOW + timedelta(hours=1))
    both = KeyRing({**later.keys, new.id: new})
    assert both.find(old_secret, NOW).name == both.find(new_secret, NOW).name == "app"
    with pytest.raises(CredentialsError, match="expired"):
        both.find(old_secret, NOW + timedelta(hours=2))
    assert both.keys[other.id].expires == ""
    assert both.find(new_secret, NOW + timedelta(hours=2)) == new


def test_an_end_is_never_put_off() -> None:
    key, _ = make_key("app", ["predict"], NOW, expires=NOW + timedelta(hours=1))
    ended = expire(ring(key), "app", NOW + timedelta(days=9))
    assert ended.keys[key.id].expires == key.expires


def test_revoked_keys_are_gone_by_id_and_by_name() -> None:
    one, two = make_key("app", ["predict"], NOW)[0], make_key("app", ["admin"], NOW)[0]
    assert set(revoke(ring(one, two), one.id).keys) == {two.id}
    assert revoke(ring(one, two), "app").keys == {}
    with pytest.raises(UsageError, match="no API key 'nobody'"):
        revoke(ring(one), "nobody")


@pytest.mark.parametrize(
    ("scopes", "limits"),
    [(["all"], {}), ([], {}), (["predict"], {"per_second": -1.0}), (["predict"], {"burst": 0})],
)
def test_scopes_and_limits_must_make_sense(scopes, limits) -> None:
    with pytest.raises(UsageError):
        make_key("app", scopes, NOW, **limits)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 1, "keys": [{"id": 1}]}'])
def test_a_damaged_file_is_an_error_and_not_an_open_door(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(HomeError):
        read_keys(path)


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"format": 99, "keys": []}))
    with pytest.raises(HomeError, match="format 99"):
        read_keys(path)
