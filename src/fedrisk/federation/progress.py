"""How a run tells whoever asked for it: lines while it goes on, one outcome at its end."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedrisk import errors
from fedrisk.errors import FederationError, FedriskError
from fedrisk.study.training import RoundRecord


@dataclass
class Progress:
    """The files of one run: ``progress.jsonl`` grows, ``outcome.json`` appears whole.

    Parameters
    ----------
    folder : Path
        ``runs/ID`` of the home.
    """

    folder: Path
    _offset: int = field(default=0, repr=False)

    def add(self, record: RoundRecord) -> None:
        """Append a finished round."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "progress.jsonl").open("a", encoding="utf-8") as file:
            file.write(record.model_dump_json() + "\n")

    def news(self) -> Iterator[RoundRecord]:
        """Rounds that were added since the last call."""
        try:
            with (self.folder / "progress.jsonl").open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            yield RoundRecord.model_validate_json(line)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be `alive` for as long as this process runs the run, whatever way it ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "alive").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def alive(self) -> bool:
        """Whether a process holds the run: the kernel frees its lock when it ends."""
        try:
            with (self.folder / "alive").open("r") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def succeed(self, **facts: object) -> None:
        """Write the outcome of a run that ended well."""
        self._write({"ok": True, **facts})

    def fail(self, error: FedriskError) -> None:
        """Write the outcome of a run that ended by an error."""
        kind = type(error).__name__
        self._write({"ok": False, "class": kind, "message": error.message, "hint": error.hint})

    def outcome(self) -> dict[str, Any] | None:
        """What the run ended with, or None while it goes on.

        Raises
        ------
        FedriskError
            The error that the run ended by, of the same class.
        """
        try:
            found = json.loads((self.folder / "outcome.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if found["ok"]:
            return dict(found)
        kind = getattr(errors, found["class"], FederationError)
        raise kind(found["message"], hint=found["hint"])

    def _write(self, document: dict[str, object]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / "outcome.json.part"
        with draft.open("w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.folder / "outcome.json")
