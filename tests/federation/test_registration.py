"""SuperLink's list of nodes follows the federation's sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fedrisk.errors import FederationError
from fedrisk.federation.engines.flower import Control
from fedrisk.federation.provisioning.documents import JoinRequest
from fedrisk.federation.provisioning.keys import make_site_key, public_text
from fedrisk.federation.provisioning.members import Members, MembersFile
from fedrisk.federation.registration import register_members

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Nodes(Control):
    """A SuperLink's list of nodes, without SuperLink: `flwr` takes seconds a command."""

    registered: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    meanwhile: list[Callable[[], object]] = field(default_factory=list)

    def _wait(self) -> None:
        """What operators do while SuperLink is asked, once."""
        while self.meanwhile:
            self.meanwhile.pop()()

    def register(self, public_key: Path) -> str:
        key = public_key.read_text(encoding="utf-8").strip()
        if key in self.registered.values():
            raise FederationError("public key already in use")
        if key in self.broken:
            raise FederationError("no")
        node = str(len(self.registered) + len(self.gone) + 1)
        self._wait()
        self.registered[node] = key
        return node

    def unregister(self, node: str) -> None:
        self._wait()
        self.gone.add(node)
        del self.registered[node]

    def nodes(self) -> dict[str, dict[str, Any]]:
        told = dict.fromkeys(self.registered, "online") | dict.fromkeys(self.gone, "unregistered")
        return {node: {"status": status} for node, status in told.items()}


@pytest.fixture
def control(tmp_path: Path) -> Nodes:
    return Nodes({}, tmp_path / "flwr.log")


@pytest.fixture
def file(tmp_path: Path) -> MembersFile:
    made = MembersFile(tmp_path / "sites.json")
    Members().write(made.path)
    return made


def approve(file: MembersFile, tmp_path: Path, name: str, key: str) -> str:
    if not (tmp_path / f"{key}.key").exists():
        make_site_key(tmp_path, key)
    public = public_text(tmp_path / f"{key}.key")
    request = JoinRequest(
        federation="f", site=name, node_key=public, signing_key=f"signs {name}", version="1"
    )
    members = file.read()
    if name not in members.sites:
        members = members.invite(name, NOW)
    members.approve(name, request, NOW).write(file.path)
    return public


def remove(file: MembersFile, name: str) -> None:
    file.read().remove(name, NOW).write(file.path)


def test_only_approved_sites_are_registered(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    key = approve(file, tmp_path, "north", "one")
    file.read().invite("south", NOW).write(file.path)
    assert register_members(file, control) == ["site north is registered as node 1"]
    assert control.registered == {"1": key}
    assert file.read().sites["north"].node == "1"


def test_nothing_is_done_twice(file: MembersFile, control: Nodes, tmp_path: Path) -> None:
    approve(file, tmp_path, "north", "one")
    register_members(file, control)
    assert register_members(file, control) == []


def test_a_removed_site_is_unregistered(file: MembersFile, control: Nodes, tmp_path: Path) -> None:
    approve(file, tmp_path, "north", "one")
    register_members(file, control)
    remove(file, "north")
    assert register_members(file, control) == ["node 1 of site north is refused from now on"]
    assert control.registered == {}
    assert file.read().sites["north"].retired_nodes == ()
    assert register_members(file, control) == []


def test_a_new_key_takes_the_old_one_s_place(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    approve(file, tmp_path, "north", "one")
    register_members(file, control)
    key = approve(file, tmp_path, "north", "two")
    register_members(file, control)
    assert list(control.registered.values()) == [key]
    assert control.gone == {"1"}


def test_a_superlink_that_lost_its_list_gets_it_again(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    key = approve(file, tmp_path, "north", "one")
    register_members(file, control)
    fresh = Nodes({}, tmp_path / "flwr.log")
    register_members(file, fresh)
    assert list(fresh.registered.values()) == [key]


def test_what_was_done_before_a_failure_is_written_down(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    approve(file, tmp_path, "north", "one")
    control.broken.add(approve(file, tmp_path, "south", "two"))
    with pytest.raises(FederationError):
        register_members(file, control)
    assert file.read().sites["north"].node == "1"
    control.broken.clear()
    register_members(file, control)
    assert file.read().sites["south"].node == "2"


def test_one_site_s_failure_holds_up_no_other(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    control.broken.add(approve(file, tmp_path, "a-broken", "zero"))
    approve(file, tmp_path, "north", "one")
    approve(file, tmp_path, "south", "two")
    with pytest.raises(FederationError, match="site a-broken: no"):
        register_members(file, control)
    assert len(control.registered) == 2
    remove(file, "south")
    with pytest.raises(FederationError, match="site a-broken: no"):
        register_members(file, control)
    assert len(control.registered) == 1


def test_it_is_told_when_everyone_who_must_be_is_refused(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    """Before the sites that come in, whatever becomes of them, and not before those that go."""
    approve(file, tmp_path, "gone", "one")
    approve(file, tmp_path, "lost", "two")
    register_members(file, control)
    remove(file, "gone")
    key = approve(file, tmp_path, "north", "three")
    control.broken.add(key)
    told: list[set[str]] = []
    with pytest.raises(FederationError):
        register_members(file, control, lambda: told.append(set(control.gone)))
    assert told == [{"1"}]
    forget(file, "lost")
    remove(file, "lost")
    with pytest.raises(FederationError):
        register_members(file, control, lambda: told.append(set(control.gone)))
    assert told == [{"1"}], "the node of a site that was removed may be let in still"
    control.broken.clear()
    register_members(file, control, lambda: told.append(set(control.gone)))
    assert told == [{"1"}, {"1", "2"}]


def forget(file: MembersFile, name: str) -> None:
    """As when the coordinator ends between SuperLink's answer and the note of it."""
    forgotten = file.read().sites[name].model_copy(update={"node": ""})
    file.read().with_member(name, forgotten).write(file.path)


def test_a_node_that_was_not_written_down_is_its_site_s(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    approve(file, tmp_path, "north", "one")
    register_members(file, control)
    forget(file, "north")
    approve(file, tmp_path, "south", "two")
    register_members(file, control)
    assert {n: m.node for n, m in file.read().sites.items()} == {"north": "1", "south": "2"}
    assert control.gone == set()


def test_a_node_that_was_not_written_down_goes_with_its_site(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    approve(file, tmp_path, "north", "one")
    register_members(file, control)
    forget(file, "north")
    remove(file, "north")
    assert register_members(file, control) == ["node 1 is of no site and refused from now on"]
    assert control.registered == {}


def locked_remove(file: MembersFile, name: str) -> None:
    """As `fedrisk federation remove-site` does."""
    with file.changing():
        remove(file, name)


def test_operators_wait_for_no_call_to_superlink(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    """A site that is removed while it is registered is not let in by that."""
    approve(file, tmp_path, "north", "one")
    key = approve(file, tmp_path, "south", "two")
    control.meanwhile.append(lambda: locked_remove(file, "north"))
    register_members(file, control)
    assert file.read().sites["north"].status == "removed"
    assert file.read().sites["north"].retired_nodes == ("1",)
    register_members(file, control)
    assert list(control.registered.values()) == [key]
    assert file.read().sites["north"].retired_nodes == ()


def test_a_key_that_changes_while_the_old_one_is_registered(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    approve(file, tmp_path, "north", "one")

    def rotate() -> None:
        with file.changing():
            approve(file, tmp_path, "north", "two")

    control.meanwhile.append(rotate)
    register_members(file, control)
    assert file.read().sites["north"].node == ""
    register_members(file, control)
    assert list(control.registered.values()) == [public_text(tmp_path / "two.key")]
    assert control.gone == {"1"}


def test_a_node_that_is_given_up_while_another_is_refused_is_refused_too(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    approve(file, tmp_path, "north", "one")
    register_members(file, control)
    approve(file, tmp_path, "north", "two")
    node = file.read().sites["north"].model_copy(update={"node": "9"})

    def give_up_another() -> None:
        with file.changing():
            file.read().with_member("north", node.without_key()).write(file.path)

    control.meanwhile.append(give_up_another)
    register_members(file, control)
    assert control.gone == {"1"}
    assert file.read().sites["north"].retired_nodes == ("9",), "the next call refuses it"


def test_an_end_within_a_call_leaves_what_the_next_one_mends(
    file: MembersFile, control: Nodes, tmp_path: Path
) -> None:
    approve(file, tmp_path, "north", "one")
    register_members(file, control)
    approve(file, tmp_path, "north", "two")

    def ends() -> None:
        raise KeyboardInterrupt

    control.meanwhile.append(ends)
    with pytest.raises(KeyboardInterrupt):
        register_members(file, control)
    register_members(file, control)
    assert list(control.registered.values()) == [public_text(tmp_path / "two.key")]
    assert control.gone == {"1"}
