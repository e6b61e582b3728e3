"""Bring SuperLink's list of nodes in line with the federation's sites."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fedrisk.federation.engines.flower import Control
from fedrisk.federation.provisioning.members import Member, Members, MembersFile


def register_members(file: MembersFile, control: Control) -> list[str]:
    """Register approved keys that SuperLink does not know, unregister nodes that were given up.

    Parameters
    ----------
    file : MembersFile
    control : Control
        Of the running SuperLink.

    Returns
    -------
    list of str
        What was done, a line each.

    Raises
    ------
    FederationError
        When SuperLink does not do it; what was done before is written down.
    """
    done: list[str] = []
    with file.changing():
        members = file.read()
        known = {node for node, told in control.nodes().items() if alive(told["status"])}
        for name, member in members.sites.items():
            for node in member.retired_nodes:
                if node in known:
                    control.unregister(node)
                    done.append(f"node {node} of site {name} is refused from now on")
            if member.retired_nodes:
                member = member.model_copy(update={"retired_nodes": ()})
                members = _write(file, members, name, member)
            if member.status == "approved" and member.node not in known:
                node = _register(control, member)
                members = _write(file, members, name, member.model_copy(update={"node": node}))
                done.append(f"site {name} is registered as node {node}")
    return done


def alive(status: str) -> bool:
    """Whether a node of this status is registered still.

    >>> alive("online"), alive("unregistered")
    (True, False)
    """
    return status not in ("unregistered", "deleted")


def _register(control: Control, member: Member) -> str:
    with tempfile.TemporaryDirectory(prefix="fedrisk-") as folder:
        public = Path(folder) / "node.pub"
        public.write_text(member.node_key + "\n", encoding="utf-8")
        return control.register(public)


def _write(file: MembersFile, members: Members, name: str, member: Member) -> Members:
    changed = members.with_member(name, member)
    changed.write(file.path)
    return changed
