"""Files of sealed batches by day: appended to, and deleted when they are old."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fedrisk.errors import HomeError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    from fedrisk.sealing import Sealer

SUFFIX = ".sealed"


def days(folder: Path) -> dict[date, Path]:
    """Folders of the record by their day, oldest first."""
    found = {}
    for place in folder.iterdir() if folder.is_dir() else ():
        with suppress(ValueError):
            found[date.fromisoformat(place.name)] = place
    return dict(sorted(found.items()))


def erase_before(folder: Path, day: date) -> list[date]:
    """Delete what was recorded before a day; which days that was.

    Raises
    ------
    HomeError
        When something cannot be deleted.
    """
    old = {found: place for found, place in days(folder).items() if found < day}
    for place in old.values():
        try:
            shutil.rmtree(place)
        except FileNotFoundError:
            continue  # another worker deletes the same
        except OSError as error:
            raise HomeError(f"{place} cannot be deleted: {error.strerror}") from None
    return list(old)


def keep_days(folder: Path, today: date, kept: int) -> list[date]:
    """Delete what is older than so many days, today among them."""
    return erase_before(folder, today - timedelta(days=kept - 1))


@dataclass
class DayFile:
    """The file that one process appends to, a new one each day.

    Parameters
    ----------
    folder : Path
    source : str
        Who writes; part of the file's name.
    recipient : X25519PublicKey or None
        None where nothing is written any more.
    """

    folder: Path
    source: str
    recipient: X25519PublicKey | None
    day: date | None = None
    _stream: IO[bytes] | None = field(default=None, repr=False)
    _sealer: Sealer | None = field(default=None, repr=False)

    def append(self, day: date, rows: bytes) -> None:
        """Seal rows into the day's file.

        Raises
        ------
        OSError
            When they cannot be written; then nothing of them is in the file.
        """
        if day != self.day or not self._still_there():
            self.close()
            self._open(day)
        self._write(rows, last=False)

    def close(self) -> None:
        """Mark the file as whole; without room for the mark it stays unfinished."""
        if self._stream is not None:
            with suppress(OSError):
                self._write(b"", last=True)
            self._leave()

    def close_before(self, today: date) -> None:
        """Close the file of a day that is over."""
        if self.day is not None and self.day < today:
            self.close()

    def _still_there(self) -> bool:
        """Whether nobody has erased the open file."""
        return self._stream is not None and Path(self._stream.name).exists()

    def _open(self, day: date) -> None:
        from fedrisk.sealing import Sealer

        if self.recipient is None:
            raise OSError(0, "there is no key to seal for")
        place = self.folder / day.isoformat()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        name = re.sub(r"[^A-Za-z0-9_-]", "_", self.source)
        taken = sum(1 for _ in place.glob(f"{name}.*{SUFFIX}"))
        file = place / f"{name}.{taken}{SUFFIX}"
        file.touch(0o600, exist_ok=False)
        self._stream, self._sealer, self.day = (
            file.open("ab", buffering=0),
            Sealer(self.recipient),
            day,
        )

    def _write(self, rows: bytes, *, last: bool) -> None:
        stream, sealer = self._stream, self._sealer
        if stream is None or sealer is None:
            raise OSError(0, "no file is open")
        before = stream.seek(0, 2)
        batch = sealer.seal(rows, last=last)
        try:
            if stream.write(batch) != len(batch):
                raise OSError(28, "No space left on device")
        except OSError:
            try:
                stream.truncate(before)
            except OSError:
                self._leave()  # a torn end: the next rows get a file of their own
            raise
        sealer.sealed()

    def _leave(self) -> None:
        stream, self._stream, self._sealer, self.day = self._stream, None, None, None
        if stream is not None:
            stream.close()
