"""Who may make a Fleet call: the owners of approved keys, by the signature in the call's headers.

SuperLink checks the same once it holds a call as a whole. The door checks before it reads a body,
by ``sites.json`` as it is at that moment: whoever is removed is refused with the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedrisk.errors import FederationError
from fedrisk.federation.provisioning.connection import (
    FLOWERS_LAG,
    FLOWERS_LEAD,
    skew_fault,
)
from fedrisk.federation.provisioning.members import Members, MembersFile
from fedrisk.federation.provisioning.signatures import Claim, as_pem

UNSIGNED = "the call is not signed as a SuperNode signs"
UNKNOWN = "the coordinator does not know this site's key: it is not approved yet, or was replaced"
UNPROVEN = "the signature is not by the key that the call names"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the door makes of a caller.

    Attributes
    ----------
    site : str
        Whose key it is; empty for a stranger.
    reason : str
        Why the call is refused; empty when it is let in.
    """

    site: str = ""
    reason: str = ""


@dataclass(frozen=True)
class _Known:
    key: ec.EllipticCurvePublicKey
    standing: Standing


@dataclass
class Admission:
    """Judges calls by the federation's sites.

    Attributes
    ----------
    file : MembersFile
        Read again whenever it has changed.
    now : callable
        The coordinator's time, UTC.
    """

    file: MembersFile
    now: Callable[[], datetime]
    _keys: dict[bytes, _Known] = field(default_factory=dict)
    _stamp: tuple[int, int, int] = (0, 0, 0)

    def judge(self, headers: Iterable[tuple[bytes, bytes]]) -> Standing:
        """Whose call this is, and why it is refused if it is.

        What a stranger is told does not depend on who the sites are; what a site is told, it is
        told once its signature has been checked.

        Raises
        ------
        FederationError, HomeError
            When the list of sites cannot be read: nobody can be let in then.
        """
        claim = Claim.read(headers)
        if claim is None:
            return Standing(reason=UNSIGNED)
        known = self._known().get(claim.key)
        if known is None:
            return Standing(reason=UNKNOWN)
        if not claim.proven(known.key):
            return Standing(reason=UNPROVEN)
        return self._in_time(claim, known.standing)

    def _in_time(self, claim: Claim, standing: Standing) -> Standing:
        if standing.reason:
            return standing
        lead = claim.time - self.now()
        if -FLOWERS_LAG < lead < FLOWERS_LEAD:
            return standing
        return Standing(standing.site, skew_fault(lead))

    def _known(self) -> dict[bytes, _Known]:
        try:
            state = self.file.path.stat()
        except OSError as error:
            raise FederationError(f"{self.file.path}: {error.strerror}") from None
        stamp = (state.st_ino, state.st_size, state.st_mtime_ns)
        if stamp != self._stamp:
            self._keys, self._stamp = _index(self.file.read()), stamp
        return self._keys


def _index(members: Members) -> dict[bytes, _Known]:
    """Every key that is or was a site's, in the form that calls name it by."""
    keys: dict[bytes, _Known] = {}
    for name, member in members.sites.items():
        former = f"this key of site {name!r} was given up and is refused for ever"
        if member.status == "removed":
            former = f"site {name!r} was removed from this federation"
        for text in member.former_keys:
            _note(keys, text, Standing(name, former))
        if member.status == "approved":
            _note(keys, member.node_key, Standing(name))
    return keys


def _note(keys: dict[bytes, _Known], text: str, standing: Standing) -> None:
    # One key that cannot be read must not shut everybody out.
    with suppress(ValueError):
        key = serialization.load_ssh_public_key(text.encode())
        if isinstance(key, ec.EllipticCurvePublicKey):
            keys[as_pem(key)] = _Known(key, standing)
