"""Who was invited, approved, removed; no key serves twice."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk import home
from fedrisk.errors import FederationError, HomeError
from fedrisk.federation.provisioning.documents import JoinRequest
from fedrisk.federation.provisioning.keys import make_signing_pair, make_site_key, public_text
from fedrisk.federation.provisioning.members import Members, MembersFile

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def request(folder: Path, site: str, key: str = "", signing: str = "") -> JoinRequest:
    key, signing = key or site, signing or site
    if not (folder / f"{key}.key").exists():
        make_site_key(folder, key)
    if not (folder / f"{signing}-signing.key").exists():
        make_signing_pair(folder, f"{signing}-signing")
    return JoinRequest(
        federation="f",
        site=site,
        node_key=public_text(folder / f"{key}.key"),
        signing_key=public_text(folder / f"{signing}-signing.key"),
        version="0.1.0",
    )


@pytest.fixture
def members(tmp_path: Path) -> Members:
    invited = Members().invite("north", NOW).invite("south", NOW)
    return invited.approve("north", request(tmp_path, "north"), NOW)


def test_only_invited_sites_are_approved(members: Members, tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="no site is named 'west'"):
        members.approve("west", request(tmp_path, "west"), NOW)


def test_two_sites_do_not_share_a_node_key(members: Members, tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="bring one key"):
        members.approve("south", request(tmp_path, "south", key="north"), NOW)


def test_two_sites_do_not_share_a_signing_key(members: Members, tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="bring one key"):
        members.approve("south", request(tmp_path, "south", signing="north"), NOW)


def test_approving_the_same_key_again_keeps_the_node(members: Members, tmp_path: Path) -> None:
    registered = members.sites["north"].model_copy(update={"node": "7"})
    again = members.with_member("north", registered)
    again = again.approve("north", request(tmp_path, "north"), NOW)
    assert again.sites["north"].node == "7"
    assert again.sites["north"].retired_nodes == ()


def test_another_key_gives_the_former_one_up(members: Members, tmp_path: Path) -> None:
    former = members.sites["north"].node_key
    registered = members.sites["north"].model_copy(update={"node": "7"})
    changed = members.with_member("north", registered)
    changed = changed.approve("north", request(tmp_path, "north", key="next"), NOW)
    assert changed.sites["north"].retired_nodes == ("7",)
    assert changed.sites["north"].former_keys == (former,)
    with pytest.raises(FederationError, match="refused for ever"):
        changed.approve("north", request(tmp_path, "north"), NOW)
    with pytest.raises(FederationError, match="refused for ever"):
        changed.approve("south", request(tmp_path, "south", key="north"), NOW)


def test_a_removed_site_can_be_invited_anew(members: Members, tmp_path: Path) -> None:
    removed = members.remove("north", NOW)
    assert removed.sites["north"].node_key == ""
    with pytest.raises(FederationError, match="was removed"):
        removed.approve("north", request(tmp_path, "north", key="next"), NOW)
    anew = removed.invite("north", NOW).approve("north", request(tmp_path, "north", "next"), NOW)
    assert anew.sites["north"].status == "approved"


def test_a_name_is_given_once(members: Members) -> None:
    for name in ("north", "south"):
        with pytest.raises(FederationError, match=f"two sites are named '{name}'"):
            members.invite(name, NOW)


def test_a_process_that_does_not_go_on_is_not_waited_for_without_end(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "LOCK_SECONDS", 0.1)
    file = MembersFile(tmp_path / "sites.json")
    members.write(file.path)
    with file.changing(), pytest.raises(HomeError, match=r"sites\.lock"), file.changing():
        raise AssertionError("two change it")
    with file.changing() as free:
        assert free.read() == members
