"""Checkpoints of one run: written whole or not at all, checked when read, fenced against the past.

Two files hold the last two checkpoints. Each is a line with format, fencing token and the SHA-256
of these two and the document, then the document. A checkpoint is written to a draft, flushed to the
disk, and renamed; so a kill or a full disk leaves what was there. Who claims the run gets a token
that is greater than all before (Kleppmann, Designing Data-Intensive Applications, 2017, chapter 8);
a process with an older one that comes back is refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fedrisk.durable import put, write_draft, write_whole
from fedrisk.errors import FederationError, HomeError, SupersededError
from fedrisk.home import locked

logger = logging.getLogger(__name__)

#: Raised when a release changes what a checkpoint holds; others are refused.
FORMAT = 1
CURRENT, PREVIOUS = "checkpoint.json", "previous.json"


class Damaged(Exception):  # noqa: N818 never leaves this module
    """A checkpoint that cannot be read back."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, for the process that claimed it last.

    Attributes
    ----------
    folder : Path
        ``runs/ID/checkpoint`` of the home.
    token : int
        Fencing token, greater than those of all who claimed the run before.
    """

    folder: Path
    token: int

    @classmethod
    def claim(cls, folder: Path) -> Checkpoints:
        """Take the run up: from now on nobody who claimed it before may write.

        Raises
        ------
        HomeError
            When the folder cannot be written to.
        FederationError
            When another process holds the lock for longer than a write may take.
        """
        with _told(folder, "claimed"):
            folder.mkdir(parents=True, exist_ok=True)
            with _held(folder, "claimed"):
                token = max(_fence(folder), *(_token(folder / n) for n in (CURRENT, PREVIOUS))) + 1
                write_whole(folder / "fence", _fence_text(token))
        return cls(folder, token)

    @contextmanager
    def fenced(self, what: str = "looked at") -> Iterator[None]:
        """Keep others from claiming the run while something of it is written elsewhere.

        Parameters
        ----------
        what : str
            What cannot be done where the folder cannot be used, as an error says.

        Raises
        ------
        SupersededError
            When another process has claimed the run since; nothing may be written then.
        HomeError
            When the folder cannot be used.
        FederationError
            When another process holds the lock for longer than a write may take.
        """
        with _held(self.folder, what):
            with _told(self.folder, what):
                self._check()
            yield

    def verify(self) -> None:
        """Raise SupersededError when another process has claimed the run since."""
        with self.fenced():
            pass

    def save(self, document: Mapping[str, Any]) -> None:
        """Write a checkpoint and keep the one before.

        Raises
        ------
        SupersededError
            When another process has claimed the run since; nothing is written then.
        HomeError
            When it cannot be written, as on a full disk; the checkpoints before are intact.
        FederationError
            When the document holds a number that is not finite.
        """
        try:
            body = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
        except ValueError:
            raise FederationError(
                "the run has come to a number that is not finite: it cannot be kept",
                hint="lower the strategy's step sizes, or look for extreme values",
            ) from None
        digest = _digest(FORMAT, self.token, body)
        head = {"format": FORMAT, "token": self.token, "sha256": digest}
        with self.fenced("written"), _told(self.folder, "written"):
            draft = write_draft(self.folder / CURRENT, json.dumps(head).encode() + b"\n" + body)
            with suppress(FileNotFoundError, Damaged):
                _open(self.folder / CURRENT)  # a damaged one must not push out a good one
                (self.folder / CURRENT).replace(self.folder / PREVIOUS)
            put(draft, self.folder / CURRENT)

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint that is whole, or None before the first one.

        Raises
        ------
        FederationError
            When there are checkpoints and none can be read.
        """
        damaged = []
        with _held(self.folder, "read"), _told(self.folder, "read"):
            for name in (CURRENT, PREVIOUS):
                try:
                    document = _read(self.folder / name)
                except FileNotFoundError:
                    continue
                except Damaged as error:
                    logger.warning("%s is damaged: %s", self.folder / name, error)
                    damaged.append(f"{name}: {error}")
                    continue
                return document
        if damaged:
            raise FederationError(
                f"no checkpoint in {self.folder} can be read ({'; '.join(damaged)})",
                hint="start the run anew without --resume",
            )
        return None

    def _check(self) -> None:
        latest = _fence(self.folder)
        if latest != self.token:
            raise SupersededError(
                f"run {self.folder.parent.name} was taken up by another process",
                hint="leave it to that one; this process has written nothing since",
            )


def _read(file: Path) -> dict[str, Any]:
    kind, _, body = _open(file)
    if kind != FORMAT:
        raise FederationError(
            f"{file} has format {kind}, this version knows {FORMAT}",
            hint="take the run up with the version that began it",
        )
    document: dict[str, Any] = json.loads(body)
    return document


def _open(file: Path) -> tuple[int, int, bytes]:
    """Format, token and document of a file whose checksum holds, in this or a newer format."""
    head, _, body = file.read_bytes().partition(b"\n")
    try:
        facts = json.loads(head)
        kind, token, digest = int(facts["format"]), int(facts["token"]), facts["sha256"]
    except (ValueError, KeyError, TypeError):
        raise Damaged("its first line is not that of a checkpoint") from None
    if digest != _digest(kind, token, body):
        raise Damaged("its contents do not match their checksum")
    return kind, token, body


def _digest(kind: int, token: int, body: bytes) -> str:
    return sha256(f"{kind} {token}\n".encode() + body).hexdigest()


def _token(file: Path) -> int:
    """The token that a checkpoint was written under; 0 where there is none to read."""
    try:
        return _open(file)[1]
    except (FileNotFoundError, Damaged):
        return 0


def _fence(folder: Path) -> int:
    """The token of who claimed the run last; 0 before anybody did."""
    file = folder / "fence"
    try:
        text = file.read_text(encoding="ascii")
        token = int(text.partition(" ")[0])
        if text == _fence_text(token):
            return token
    except FileNotFoundError:
        return 0
    except ValueError:
        pass
    raise HomeError(
        f"{file} is damaged: it does not say who has taken the run up",
        hint="when no other process works on the run, remove that file and take the run up again",
    )


def _fence_text(token: int) -> str:
    """A token with a checksum: an older one must not come back by a flipped bit."""
    return f"{token} {sha256(str(token).encode()).hexdigest()}\n"


@contextmanager
def _held(folder: Path, what: str) -> Iterator[None]:
    """The lock of a run's checkpoints; an error of what is done inside is its own."""
    with ExitStack() as stack:
        with _told(folder, what):
            stack.enter_context(locked(folder / "lock", FederationError))
        yield


@contextmanager
def _told(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HomeError(
            f"checkpoint in {folder} cannot be {what}: {error.strerror or error}",
            hint="make room or give access, then take the run up with `fedrisk train --resume`",
        ) from None
