"""The folder that backups lie in, each a folder of its own, and how the last attempt ended.

::

    fedrisk-20260101T020000Z/    a whole backup: its manifest is there
    .fedrisk-....part/           one that is written now, or whose process was killed
    backup-status.json           when the newest was made, for the alert that it is old
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedrisk.backup.manifest import FILE, Manifest
from fedrisk.durable import flush_folder, write_whole
from fedrisk.errors import HomeError

STATUS = "backup-status.json"
_NAME = re.compile(r"fedrisk-\d{8}T\d{6}Z")
_DRAFT = re.compile(r"\.fedrisk-\d{8}T\d{6}Z\.part")


def name_of(time: datetime) -> str:
    """Name of the backup that began at a time.

    >>> name_of(datetime(2026, 1, 1, 2, tzinfo=UTC))
    'fedrisk-20260101T020000Z'
    """
    return f"fedrisk-{time.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def whole_backups(shelf: Path) -> list[Path]:
    """Backups that were finished, oldest first."""
    found = (each for each in shelf.iterdir() if _NAME.fullmatch(each.name))
    return sorted(each for each in found if (each / FILE).is_file())


def newest(place: Path) -> Path:
    """A backup's folder: the place itself, or the newest on a shelf.

    Raises
    ------
    HomeError
        When there is none.
    """
    if (place / FILE).is_file() or not place.is_dir():
        return place
    found = whole_backups(place)
    if not found:
        raise HomeError(f"{place} holds no whole backup", hint="`fedrisk backup create` makes one")
    return found[-1]


def new_draft(shelf: Path, name: str) -> Path:
    """A folder for what is written; those of processes that were killed are removed first.

    Raises
    ------
    HomeError
        When a backup of that name is there.
    OSError
        When nothing can be written.
    """
    if (shelf / name).exists():
        raise HomeError(f"{shelf / name} is there already", hint="nothing is overwritten; wait 1 s")
    for each in shelf.iterdir():
        if _DRAFT.fullmatch(each.name):
            shutil.rmtree(each)
    draft = shelf / f".{name}.part"
    draft.mkdir(mode=0o700)
    return draft


def put_on(shelf: Path, draft: Path, name: str) -> Path:
    """Give a finished backup its name, in one step; its folder."""
    flush_folder(draft)
    place = draft.rename(shelf / name)
    flush_folder(shelf)
    return place


def forget(shelf: Path, keep: int) -> list[str]:
    """Delete whole backups beyond the newest ``keep``; which."""
    old = whole_backups(shelf)[:-keep]
    for each in old:
        # Without its manifest it is no backup, whenever the rest is interrupted.
        (each / FILE).unlink()
        shutil.rmtree(each)
    return [each.name for each in old]


def tell_done(places: Sequence[Path], manifest: Manifest) -> None:
    """Write down, in some folders, that a backup was made."""
    _tell(places, {"time": manifest.time, "bytes": manifest.bytes, "ok": True, "failed": None})


def tell_failed(places: Sequence[Path], now: datetime) -> None:
    """Write down that one was not; ``time`` and ``bytes`` stay those of the last that was."""
    before: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        before = json.loads((places[0] / STATUS).read_text(encoding="utf-8"))
    last = {"time": before.get("time"), "bytes": before.get("bytes")}
    _tell(places, last | {"ok": False, "failed": now.isoformat(timespec="seconds")})


def _tell(places: Sequence[Path], document: dict[str, Any]) -> None:
    for place in places:
        # Where nothing can be written the status ages, which is told as well.
        with suppress(OSError):
            write_whole(place / STATUS, json.dumps(document) + "\n")
