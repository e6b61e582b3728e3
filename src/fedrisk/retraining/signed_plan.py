"""A person's signature on a change plan: with it, the plan lets a challenger be promoted.

The signature is over the plan's hash, by an Ed25519 key such as ``ssh-keygen -t ed25519`` makes. It
counts if the key is one that the operator trusts (`FEDRISK_PLAN_KEYS`), which is not in the home:
who can write there could otherwise sign for themselves.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from fedrisk.attestation import is_signed, public_text, read_private
from fedrisk.durable import write_whole
from fedrisk.errors import UsageError
from fedrisk.retraining.plan import ChangePlan

_PREFIX = b"fedrisk change plan 1\n"


def signature_file(plan: Path) -> Path:
    """Where the signature of a plan lies: ``plan.sig`` beside it."""
    return plan.with_suffix(".sig")


def sign_plan(plan: ChangePlan, file: Path, key: Path) -> str:
    """Sign a plan.

    Parameters
    ----------
    plan : ChangePlan
    file : Path
        The plan's own; the signature is written beside it.
    key : Path
        Private, OpenSSH format.

    Returns
    -------
    str
        The public key, for `FEDRISK_PLAN_KEYS`.

    Raises
    ------
    SiteFolderError
        When the key cannot be read.
    """
    private = read_private(key)
    signature = base64.b64encode(private.sign(_content(plan))).decode()
    public = public_text(private)
    document = {"plan": plan.hash, "key": public, "signature": signature}
    write_whole(signature_file(file), json.dumps(document) + "\n")
    return public


def plan_is_signed(plan: ChangePlan, file: Path, trusted: Path | None) -> bool:
    """Whether somebody who is trusted signed this very plan.

    Parameters
    ----------
    plan : ChangePlan
    file : Path
        The plan's own.
    trusted : Path or None
        Public keys, one a line, as OpenSSH writes them; None trusts nobody.

    Raises
    ------
    UsageError
        When the trusted keys cannot be read.
    """
    if trusted is None:
        return False
    try:
        lines = trusted.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the keys that sign plans cannot be read: {error}") from None
    keys = {" ".join(line.split()[:2]) for line in lines if line.strip()}
    try:
        found = json.loads(signature_file(file).read_text(encoding="utf-8"))
        key, signature = str(found["key"]), str(found["signature"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return key in keys and is_signed(key, signature, _content(plan))


def _content(plan: ChangePlan) -> bytes:
    return _PREFIX + plan.hash.encode()
