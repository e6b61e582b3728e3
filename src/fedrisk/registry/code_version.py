"""Which code made a model: the package's version, and its commit in a checkout or an image."""

from __future__ import annotations

import subprocess
from pathlib import Path

import fedrisk

TIMEOUT_SECONDS = 5.0
#: Beside the package in an image, where there is no repository: the commit it was built from.
BUILT_FROM = "COMMIT"


def code_version() -> dict[str, str]:
    """The package's ``version`` and its ``commit`` (``-dirty`` if changed), where that is known."""
    found = {"version": fedrisk.__version__}
    package = Path(fedrisk.__file__)
    commit = _built_from(package.with_name(BUILT_FROM)) or _commit(package)
    return found | ({"commit": commit} if commit else {})


def _built_from(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


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
