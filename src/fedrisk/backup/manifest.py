"""What a backup holds: a line a part, with its length and hash; written last, so it vouches."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fedrisk.errors import HomeError

FORMAT = 1
FILE = "manifest.json"
Kind = Literal["folder", "database"]


@dataclass(frozen=True)
class Part:
    """One folder or database.

    Attributes
    ----------
    name : str
        What it is: ``home``, ``federation``, ``mlflow``.
    kind : Kind
    file : str
        Its file, in the backup's folder.
    bytes : int
        Of that file.
    sha256 : str
        Of that file.
    """

    name: str
    kind: Kind
    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All parts of one backup.

    Attributes
    ----------
    time : str
        When it began, ISO 8601 in UTC: nothing later is certain to be in it.
    release : str
        Of the fedrisk that wrote it.
    sealed : bool
        Whether the parts are sealed for a recipient's key.
    parts : tuple of Part
        In the order in which they were read.
    """

    time: str
    release: str
    sealed: bool
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """Of all parts."""
        return sum(part.bytes for part in self.parts)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"format": FORMAT, **asdict(self), "parts": [asdict(part) for part in self.parts]}

    def part(self, name: str, kind: Kind) -> Part:
        """A part by its name.

        Raises
        ------
        HomeError
            When the backup has none of that name and kind.
        """
        for part in self.parts:
            if (part.name, part.kind) == (name, kind):
                return part
        there = ", ".join(f"{part.kind} {part.name}" for part in self.parts)
        raise HomeError(f"the backup has no {kind} {name!r}", hint=f"it has: {there}")


def read_manifest(backup: Path) -> Manifest:
    """The manifest of a backup's folder.

    Raises
    ------
    HomeError
        When it is missing, damaged, or of a newer format.
    """
    file = backup / FILE
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        found = document.pop("format")
        if not isinstance(found, int) or found > FORMAT:
            raise HomeError(f"{file} has format {found}", hint="use the newer fedrisk")
        parts = tuple(Part(**part) for part in document.pop("parts"))
        manifest = Manifest(parts=parts, **document)
    except OSError as error:
        raise HomeError(
            f"{backup} is no whole backup: {FILE}: {error.strerror}",
            hint="one without a manifest was never finished; take an earlier one",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HomeError(f"{file} is damaged: {error}", hint="take an earlier backup") from None
    if any(Path(part.file).name != part.file for part in parts):
        raise HomeError(f"{file} names a file elsewhere", hint="take an earlier backup")
    return manifest


def check_parts(backup: Path, manifest: Manifest) -> None:
    """Compare every part's length and hash with the manifest.

    Raises
    ------
    HomeError
        Naming every part that is missing or not as it was written.
    """
    wrong = []
    for part in manifest.parts:
        try:
            with (backup / part.file).open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                length = stream.tell()
        except OSError as error:
            wrong.append(f"{part.file}: {error.strerror}")
            continue
        if (length, digest) != (part.bytes, part.sha256):
            wrong.append(f"{part.file} is not as it was written")
    if wrong:
        raise HomeError(
            f"{backup} is damaged: {'; '.join(wrong)}", hint="take an earlier backup, or a copy"
        )
