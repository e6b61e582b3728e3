"""Study files that came with a training that somebody asked the watch for."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path

from fedrisk.home import Home


def _folder(home: Home) -> Path:
    return home.serving / "asked"


def keep_study(home: Home, identifier: str, text: str) -> Path:
    """Write the study down for the command that trains; its file.

    Parameters
    ----------
    home : Home
    identifier : str
        The operation's.
    text : str
    """
    file = _folder(home) / f"{identifier}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def forget_studies(home: Home, before: datetime) -> list[str]:
    """Delete those written before a time, whose runs have the study themselves; which they were.

    Parameters
    ----------
    home : Home
    before : datetime
        With its zone.
    """
    gone = []
    for file in sorted(_folder(home).glob("*.toml")):
        with suppress(OSError):
            if file.stat().st_mtime < before.timestamp():
                file.unlink()
                gone.append(file.stem)
    return gone
