"""Files that a crash, a power cut or a full disk leaves as they were or as they should be.

A file is written beside its place under the name ``NAME.part``, flushed to the disk and renamed;
then its folder is flushed, so that the rename outlives a power cut too. Whoever fails leaves no
draft; one that a killed process left is written over. Two that write one file need a lock
(`fedrisk.home.locked`).
"""

from __future__ import annotations

import os
from pathlib import Path

#: What a new file's access is, before the process's umask: as of `open`.
USUAL, PRIVATE = 0o666, 0o600


def replace(path: Path, content: bytes, *, mode: int = USUAL, durable: bool = True) -> None:
    """Put another content in a file's place in one step.

    Parameters
    ----------
    path : Path
    content : bytes
    mode : int
        Access from the first byte on, before the umask; also where the file was there.
    durable : bool
        Be on the disk on return; without, a power cut may bring back what was there, or nothing.

    Raises
    ------
    OSError
        When it cannot be written; then what was there is intact.
    """
    put(write_draft(path, content, mode=mode, durable=durable), path, durable=durable)


def write_whole(path: Path, text: str) -> None:
    """Put another text in a file's place, UTF-8, as `replace` does."""
    replace(path, text.encode())


def write_private(path: Path, content: bytes) -> None:
    """Put a secret in a file that only its owner can read, as `replace` does; make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, content, mode=PRIVATE)


def write_draft(path: Path, content: bytes, *, mode: int = USUAL, durable: bool = True) -> Path:
    """Write what is to stand in a file's place beside it; `put` puts it there.

    Raises
    ------
    OSError
        When it cannot be written; then no draft is left.
    """
    draft = path.with_name(path.name + ".part")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft


def put(draft: Path, path: Path, *, durable: bool = True) -> None:
    """Put a draft in its place.

    Raises
    ------
    OSError
        When that fails; the draft is removed then.
    """
    try:
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if durable:
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that its renames outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
