"""The sites of a federation: who was invited, approved, removed, and by which keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fedrisk.errors import FederationError
from fedrisk.federation.provisioning.documents import Document, JoinRequest
from fedrisk.home import locked


class Member(BaseModel):
    """One site as the coordinator knows it.

    Attributes
    ----------
    status : {'invited', 'approved', 'removed'}
    node_key, signing_key, fingerprint, version : str
        Of the approved request; empty before.
    node : str
        Flower's id of the site's node; empty until SuperLink has registered it.
    retired_nodes : tuple of str
        Nodes that SuperLink must refuse.
    former_keys : tuple of str
        Node keys that are refused for ever.
    changed : str
        ISO 8601 time of the last change of status or key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["invited", "approved", "removed"] = "invited"
    node_key: str = ""
    signing_key: str = ""
    fingerprint: str = ""
    version: str = ""
    node: str = ""
    retired_nodes: tuple[str, ...] = ()
    former_keys: tuple[str, ...] = ()
    changed: str = ""

    def without_key(self) -> Member:
        """The member after its key and node have been given up."""
        retired = (*self.retired_nodes, self.node) if self.node else self.retired_nodes
        former = (*self.former_keys, self.node_key) if self.node_key else self.former_keys
        gone = {"node": "", "node_key": "", "retired_nodes": retired, "former_keys": former}
        return self.model_copy(update=gone)


class Members(Document):
    """The federation's sites, by name; kept as ``sites.json``."""

    kind: Literal["fedrisk sites"] = "fedrisk sites"
    sites: dict[str, Member] = Field(default_factory=dict)

    def with_member(self, name: str, member: Member) -> Members:
        """These sites with one changed or added."""
        return self.model_copy(update={"sites": self.sites | {name: member}})

    def invite(self, name: str, now: datetime) -> Members:
        """Add a site that has no key yet.

        Raises
        ------
        FederationError
            When the name is taken.
        """
        known = self.sites.get(name)
        if known is not None and known.status != "removed":
            raise FederationError(
                f"two sites are named {name!r}: it is {known.status} already",
                hint="give each site its own name, or remove the other first",
            )
        member = known or Member()
        return self.with_member(name, _changed(member, now, status="invited"))

    def approve(self, name: str, request: JoinRequest, now: datetime) -> Members:
        """Take a site's keys, in place of those it had.

        Raises
        ------
        FederationError
            When the site was not invited, was removed, or the key is or was another's.
        """
        known = self._known(name)
        if known.status == "removed":
            raise FederationError(
                f"site {name!r} was removed", hint="`fedrisk federation add-site` invites it anew"
            )
        for other, member in self.sites.items():
            if request.node_key in member.former_keys:
                raise FederationError(
                    f"this key was given up by site {other!r} and is refused for ever",
                    hint="the site makes a new one with `fedrisk site rotate`",
                )
            same = request.node_key == member.node_key or request.signing_key == member.signing_key
            if other != name and same:
                raise FederationError(
                    f"sites {other!r} and {name!r} bring one key",
                    hint="each site runs `fedrisk site init` itself and shares no key",
                )
        if request.node_key != known.node_key:
            known = known.without_key()
        fields = {"node_key": request.node_key, "signing_key": request.signing_key}
        fields |= {"fingerprint": request.fingerprint, "version": request.version}
        return self.with_member(name, _changed(known, now, status="approved", **fields))

    def remove(self, name: str, now: datetime) -> Members:
        """Give a site's key up for ever."""
        known = self._known(name)
        return self.with_member(name, _changed(known.without_key(), now, status="removed"))

    def _known(self, name: str) -> Member:
        if name not in self.sites:
            raise FederationError(
                f"no site is named {name!r}", hint="`fedrisk federation status` lists them"
            )
        return self.sites[name]


def _changed(member: Member, now: datetime, **fields: str) -> Member:
    stamp = {"changed": now.isoformat(timespec="seconds")}
    return Member.model_validate(member.model_dump() | fields | stamp)


class MembersFile:
    """``sites.json``, changed by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Members:
        """The sites as they are."""
        return Members.read(self.path)

    @contextmanager
    def changing(self) -> Iterator[MembersFile]:
        """Hold the file's lock while reading, deciding and writing.

        Raises
        ------
        HomeError
            When another process holds it for too long.
        """
        with locked(self.path.with_name("sites.lock")):
            yield self
