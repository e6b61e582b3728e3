"""Studies that a person at the site approved, by hash, in `approvals.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from fedrisk.durable import replace
from fedrisk.errors import SiteFolderError
from fedrisk.home import locked
from fedrisk.study import Study


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's yes to one study.

    Attributes
    ----------
    study : str
        The study hash.
    name : str
        The study's name, for people.
    by : str
        Who approved.
    time : str
        ISO 8601.
    """

    study: str
    name: str
    by: str
    time: str


def read_approvals(path: Path) -> list[Approval]:
    """Every approval, oldest first; none where the file is absent.

    Raises
    ------
    SiteFolderError
        When the file is not what `approve` writes.
    """
    if not path.exists():
        return []
    try:
        return [Approval(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise SiteFolderError(
            f"{path}: not a list of approvals: {error}", hint="restore it, or approve anew"
        ) from None


def approve(path: Path, study: Study, by: str, now: datetime) -> Approval:
    """Add an approval; approving again is recorded too, and lets a changed cohort in.

    On disk on return; of two people who approve at one time neither is lost.

    Raises
    ------
    SiteFolderError
        When the file is damaged or cannot be written; then nobody has approved anything new.
    """
    approval = Approval(study.hash, study.name, by, now.isoformat(timespec="microseconds"))
    try:
        with locked(path.with_suffix(".lock"), SiteFolderError):
            entries = [asdict(entry) for entry in [*read_approvals(path), approval]]
            text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
            replace(path, text.encode())
    except OSError as error:
        raise SiteFolderError(f"{path}: cannot be written: {error.strerror}") from None
    return approval
