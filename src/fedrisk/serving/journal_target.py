"""Where the audit journal's lines go: a file that workers share, or standard output."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fedrisk.errors import UsageError

#: A write of this length to a pipe is never mixed with another process's (POSIX).
PIPE_LENGTH = 4096
STANDARD_OUTPUT = "-"


class Target(Protocol):
    """Takes whole lines."""

    def write(self, lines: Sequence[bytes]) -> int:
        """Write lines, each with its end; how many of them are there now.

        Raises
        ------
        OSError
            When not even the first could be written.
        """

    def close(self) -> None:
        """Give back what is open."""


def open_target(name: str) -> Target:
    """The file of that name, or standard output for ``-``.

    Raises
    ------
    UsageError
        When the file cannot be written.
    """
    return OutputTarget(1) if name == STANDARD_OUTPUT else FileTarget(Path(name))


class FileTarget:
    """A file that several processes add whole lines to.

    It is opened again when the file of that name is another one: after logrotate moved it away. A
    lock is held for each write, so that a line that a full disk cut short can be taken back.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        try:
            self._reopen()
        except OSError as error:
            raise UsageError(
                f"the audit journal {path} cannot be written: {error.strerror or error}",
                hint="FEDRISK_AUDIT names a file in a folder that exists, or - for standard output",
            ) from None

    def write(self, lines: Sequence[bytes]) -> int:
        """Add all lines or none."""
        self._reopen()
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._add(b"".join(lines))
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        return len(lines)

    def _add(self, block: bytes) -> None:
        before = os.fstat(self._file).st_size
        written = 0
        try:
            while written < len(block):
                written += os.write(self._file, block[written:])
        except OSError:
            os.ftruncate(self._file, before)
            raise

    def _reopen(self) -> None:
        """Open the file unless the one of that name is open."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            found = None
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise OSError(0, "it is no file")
        if found is not None and self._file >= 0 and os.path.samestat(found, os.fstat(self._file)):
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        opened = os.open(self._path, flags, 0o600)
        self.close()
        self._file = opened

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class OutputTarget:
    """A pipe or terminal that other processes may write to as well."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, lines: Sequence[bytes]) -> int:
        """Write as many lines as one write takes whole, and at least one."""
        taken, size = 0, 0
        while taken < len(lines) and (not taken or size + len(lines[taken]) <= PIPE_LENGTH):
            size += len(lines[taken])
            taken += 1
        block = b"".join(lines[:taken])
        while block:
            block = block[os.write(self._descriptor, block) :]
        return taken

    def close(self) -> None:
        """Standard output stays open: it is everybody's."""
