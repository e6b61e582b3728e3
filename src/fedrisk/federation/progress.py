"""How a run tells whoever asked for it: lines while it goes on, one outcome at its end.

Several processes may work on one run, one after the other: each claims it and gets a token that is
greater than those before (`fedrisk.federation.checkpoint`). What an earlier one says of the end
does not count once a later one has begun, and it may write nothing from then on.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedrisk import errors
from fedrisk.durable import write_whole
from fedrisk.errors import FederationError, FedriskError
from fedrisk.study.questions import Result
from fedrisk.study.request import SiteRequest
from fedrisk.study.training import RoundRecord

Fence = Callable[[], AbstractContextManager[object]]


@dataclass
class Progress:
    """The files of one run.

    ``request.json`` is there first, ``progress.jsonl`` grows, ``alive-TOKEN`` is locked by the
    process that works on the run, ``outcome.json`` appears whole. Where ``stopped`` is, no process
    begins until the run is reopened.

    Parameters
    ----------
    folder : Path
        ``runs/ID`` of the home.
    fence : callable
        Gives a context in which nobody can take the run up, or raises SupersededError where
        somebody has: what this process tells of the run is written in it. Without one, whoever
        writes must be alone.
    """

    folder: Path
    fence: Fence = nullcontext
    _offset: int = field(default=0, repr=False)

    def ask(self, request: SiteRequest) -> None:
        """Keep what is asked for, before anything starts, so that it can be taken up again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "request.json").exists():
            write_whole(self.folder / "request.json", request.model_dump_json() + "\n")

    def add(self, record: RoundRecord) -> None:
        """Append a finished round, over what a process that was killed left of its last line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "progress.jsonl"
        with self.fence(), path.open("ab") as file:
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
            file.write(record.model_dump_json().encode() + b"\n")

    def catch_up(self, records: Iterable[RoundRecord]) -> None:
        """Tell exactly these rounds, for a process was killed between keeping and telling one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "progress.jsonl"
        text = "".join(record.model_dump_json() + "\n" for record in records)
        with self.fence():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                write_whole(path, text)

    def news(self) -> Iterator[RoundRecord]:
        """Rounds that were added since the last call."""
        try:
            with (self.folder / "progress.jsonl").open("rb") as file:
                # Shorter than before: a damaged checkpoint took the run a round back.
                self._offset = min(self._offset, os.fstat(file.fileno()).st_size)
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            yield RoundRecord.model_validate_json(line)

    @contextmanager
    def hold(self, token: int = 0) -> Iterator[None]:
        """Be `alive` for as long as this process runs the run, whatever way it ends.

        Parameters
        ----------
        token : int
            Of this process's claim; an outcome of those before does not count from now on.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f"draft-{token}"
        with draft.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # before it has its name: nobody is waited for
            draft.replace(self.folder / f"alive-{token}")
            yield

    def token(self) -> int:
        """Of the latest process that began; -1 before the first."""
        found = (path.name.partition("-")[2] for path in self.folder.glob("alive-*"))
        return max((int(number) for number in found if number.isdigit()), default=-1)

    @property
    def sign(self) -> str:
        """Name of the file that the latest process has locked while it runs."""
        return f"alive-{self.token()}"

    def alive(self) -> bool:
        """Whether the latest process runs: the kernel frees its lock when it ends."""
        try:
            with (self.folder / self.sign).open("r") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def succeed(self, token: int = 0, **facts: object) -> None:
        """Write the outcome of a run that ended well."""
        self._write({"ok": True, "token": token, **facts})

    def fail(
        self, error: FedriskError, token: int = 0, unfinished: RoundRecord | None = None
    ) -> None:
        """Write the outcome of a run that ended by an error.

        Parameters
        ----------
        error : FedriskError
        token : int
        unfinished : RoundRecord, optional
            The round that ended it: who did not answer well, and why.
        """
        kind = type(error).__name__
        told = {"class": kind, "message": error.message, "hint": error.hint}
        last = {} if unfinished is None else {"unfinished": unfinished.model_dump(mode="json")}
        self._write({"ok": False, "token": token, **told, **last})

    def unfinished(self) -> RoundRecord | None:
        """The round that ended a run, where one did."""
        found = (self._outcome() or {}).get("unfinished")
        return None if found is None else RoundRecord.model_validate(found)

    def crash(self, reason: str) -> None:
        """Leave word of why this process dies; the run goes on in another one."""
        with self.fence():
            write_whole(self.folder / "crash.txt", reason + "\n")

    def bring(self, result: Result) -> None:
        """Keep the result, for whoever asked for the run."""
        with self.fence():
            write_whole(self.folder / "result.json", result.model_dump_json())

    def ended(self) -> bool:
        """Whether there is an outcome that counts, good or bad."""
        return self._outcome() is not None

    def outcome(self) -> dict[str, Any] | None:
        """What the run ended with, or None while it goes on.

        Raises
        ------
        FedriskError
            The error that the run ended by, of the same class.
        """
        found = self._outcome()
        if found is None or found["ok"]:
            return found
        kind = getattr(errors, found["class"], FederationError)
        raise kind(found["message"], hint=found["hint"])

    def success(self) -> dict[str, Any] | None:
        """The outcome of a run that ended well; None where it goes on or failed."""
        found = self._outcome()
        return found if found is not None and found["ok"] else None

    def stop(self, reason: str) -> None:
        """Let no process begin from now on; one that has claimed the run must be superseded."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "stopped", reason + "\n")

    def stopped(self) -> str:
        """Why nobody may begin; empty where everybody may."""
        try:
            return (self.folder / "stopped").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def reopen(self) -> None:
        """Forget a bad outcome and that the run was stopped, for it is taken up again."""
        (self.folder / "stopped").unlink(missing_ok=True)
        found = self._outcome()
        if found is not None and not found["ok"]:
            (self.folder / "outcome.json").unlink(missing_ok=True)

    def _outcome(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.folder / "outcome.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if not isinstance(found, dict):
            raise ValueError(f"{self.folder / 'outcome.json'} holds no outcome")
        return found if found.get("token", 0) >= self.token() else None

    def _write(self, document: dict[str, object]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.fence():
            write_whole(self.folder / "outcome.json", json.dumps(document))
