"""Bring SuperLink's list of nodes in line with the federation's sites.

One process at a time does this, the running coordinator's; operators change the list of sites
meanwhile. So a call to SuperLink, which takes seconds, holds no lock: what it brought is written
down under the lock, for the site as it is by then.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fedrisk.errors import FederationError
from fedrisk.federation.engines.flower import Control
from fedrisk.federation.provisioning.members import Member, MembersFile

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
    done = []
    for name, member in file.read().sites.items():
        for node in member.retired_nodes:
            if node in known:
                control.unregister(node)
                done.append(f"node {node} of site {name} is refused from now on")
        if member.retired_nodes:
            _change(file, name, partial(_without, gone=member.retired_nodes))
    return done


def _without(member: Member, gone: tuple[str, ...]) -> Member:
    """The member without nodes that are refused now; others may have been given up meanwhile."""
    left = tuple(node for node in member.retired_nodes if node not in gone)
    return member.model_copy(update={"retired_nodes": left})


def _admit(file: MembersFile, control: Control, known: set[str], unclaimed: set[str]) -> list[str]:
    """Register every site that SuperLink lacks; one that fails does not hold up the others."""
    done, failed = [], []
    for name, member in file.read().sites.items():
        if member.status != "approved" or member.node in known:
            continue
        try:
            node = _register(control, member, unclaimed)
        except FederationError as error:
            failed.append(f"site {name}: {error.message}")
            continue
        _change(file, name, partial(_with_node, key=member.node_key, node=node))
        done.append(f"site {name} is registered as node {node}")
    if failed:
        raise FederationError("; ".join(failed), hint="`fedrisk federation status` tells the rest")
    return done


def _with_node(member: Member, key: str, node: str) -> Member:
    """The member with the node of its key; of a key that was given up meanwhile, to be refused."""
    if member.status == "approved" and member.node_key == key:
        return member.model_copy(update={"node": node})
    return member.model_copy(update={"retired_nodes": (*member.retired_nodes, node)})


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


def _change(file: MembersFile, name: str, change: Callable[[Member], Member]) -> None:
    """Change one site as it is now."""
    with file.changing():
        members = file.read()
        members.with_member(name, change(members.sites[name])).write(file.path)
