"""Which code made a model: the package's version, and the commit where it runs from a checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import fedrisk

TIMEOUT_SECONDS = 5.0


def code_version() -> dict[str, str]:
    """The package's ``version`` and, in a Git checkout, its ``commit`` (``-dirty`` if changed)."""
    found = {"version": fedrisk.__version__}
    commit = _commit(Path(fedrisk.__file__))
    return found | ({"commit": commit} if commit else {})


def _commit(file: Path) -> str:
    # An environment may lie inside somebody else's repository: only a tracked file counts.
    if not _git(file.parent, "ls-files", "--error-unmatch", file.name):
        return ""
    return _git(file.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str:
    """What Git answers, or nothing where there is no Git, no repository, or no answer in time."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 fixed arguments
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
