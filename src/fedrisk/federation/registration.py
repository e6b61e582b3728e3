"""Bring SuperLink's list of nodes in line with the federation's sites."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from fedrisk.errors import FederationError
from fedrisk.federation.engines.flower import Control
from fedrisk.federation.provisioning.members import Member, Members, MembersFile

#: What SuperLink says of a key that it has registered before.
IN_USE = "already in use"


def register_members(
    file: MembersFile, control: Control, shut_out: Callable[[], object] = lambda: None
) -> list[str]:
    """Unregister nodes that were given up, then register approved keys that SuperLink lacks.

    A node that no site claims was registered by a process that ended before it could write that
    down: the site that SuperLink refuses to register twice takes it, or it is unregistered.

    Parameters
    ----------
    file : MembersFile
    control : Control
        Of the running SuperLink.
    shut_out : callable
        Called once SuperLink refuses everyone whom it must, whatever becomes of those to register.

    Returns
    -------
    list of str
        What was done, a line each.

    Raises
    ------
    FederationError
        When SuperLink does not do it; what was done is written down.
    """
    with file.changing():
        known = {node for node, told in control.nodes().items() if alive(told["status"])}
        sites = file.read().sites.values()
        unclaimed = known - {n for member in sites for n in (member.node, *member.retired_nodes)}
        done = _retire(file, control, known)
        if not unclaimed:
            shut_out()
        done += _admit(file, control, known, unclaimed)
        for node in sorted(unclaimed):
            control.unregister(node)
            done.append(f"node {node} is of no site and refused from now on")
        shut_out()
    return done


def _retire(file: MembersFile, control: Control, known: set[str]) -> list[str]:
    members, done = file.read(), []
    for name, member in members.sites.items():
        for node in member.retired_nodes:
            if node in known:
                control.unregister(node)
                done.append(f"node {node} of site {name} is refused from now on")
        if member.retired_nodes:
            member = member.model_copy(update={"retired_nodes": ()})
            members = _write(file, members, name, member)
    return done


def _admit(file: MembersFile, control: Control, known: set[str], unclaimed: set[str]) -> list[str]:
    """Register every site that SuperLink lacks; one that fails does not hold up the others."""
    members, done, failed = file.read(), [], []
    for name, member in members.sites.items():
        if member.status != "approved" or member.node in known:
            continue
        try:
            node = _register(control, member, unclaimed)
        except FederationError as error:
            failed.append(f"site {name}: {error.message}")
            continue
        members = _write(file, members, name, member.model_copy(update={"node": node}))
        done.append(f"site {name} is registered as node {node}")
    if failed:
        raise FederationError("; ".join(failed), hint="`fedrisk federation status` tells the rest")
    return done


def alive(status: str) -> bool:
    """Whether a node of this status is registered still.

    >>> alive("online"), alive("unregistered")
    (True, False)
    """
    return status not in ("unregistered", "deleted")


def _register(control: Control, member: Member, unclaimed: set[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="fedrisk-") as folder:
        public = Path(folder) / "node.pub"
        public.write_text(member.node_key + "\n", encoding="utf-8")
        try:
            return control.register(public)
        except FederationError as error:
            # A crash leaves one node at most: the next call comes before another registration.
            if IN_USE in error.message and len(unclaimed) == 1:
                return unclaimed.pop()
            raise


def _write(file: MembersFile, members: Members, name: str, member: Member) -> Members:
    changed = members.with_member(name, member)
    changed.write(file.path)
    return changed
