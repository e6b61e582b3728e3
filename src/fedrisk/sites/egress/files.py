"""Files of an egress log: appended to and replaced so that a crash at any point leaves them whole.

A line that does not end was never finished, and never led to an answer: it is no line.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from fedrisk.durable import flush_folder

#: Inode, size, times of the last change of content and of anything, in ns; none for no file.
Stamp = tuple[int, int, int, int] | tuple[()]


def stamp(path: Path) -> Stamp:
    """What changes when a file changes, whoever changes it by whatever usual means."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return ()
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def whole_lines(path: Path) -> list[bytes]:
    """Lines that end, without their ends; none where the file is absent."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def line_before(path: Path, end: int, back: int) -> bytes:
    """The line that lies ``back`` lines before the last one, found from the end.

    Parameters
    ----------
    path : Path
    end : int
        Where the last whole line ends, in bytes; at least ``back + 1`` lines lie before it.
    back : int
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), end, access=mmap.ACCESS_READ) as content,
    ):
        stop = end
        for _ in range(back):
            stop = content.rfind(b"\n", 0, stop - 1) + 1
        return content[content.rfind(b"\n", 0, stop - 1) + 1 : stop - 1]


def append_line(path: Path, end: int, line: bytes) -> None:
    """Write a line at ``end``, over whatever half-written one is there; on disk on return."""
    new = not path.exists()
    with path.open("ab") as file:
        file.truncate(end)
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        flush_folder(path.parent)
