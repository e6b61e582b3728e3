"""A folder that is in use, as one compressed tar file, and back.

What is read in which order decides what a copy of a living folder is worth:

1. Egress logs, each under its own lock: log, head and receipts of one moment. What a site's ledger
   has counted is read later, so that it lacks nothing that the log tells.
2. SQLite databases, each as SQLite copies it while others write: a state between transactions.
3. All other files. What a database names was there before its row and is never changed (artifacts,
   checkpoints, generations of models), so it is still there now; what is newer than the database
   lies there unused.
"""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from fedrisk.errors import HomeError

#: A folder is unpacked here, within its target, and a former content goes beside it.
RESTORING, REPLACED = ".restoring", ".replaced-"
#: Files up to this length are read in one go, so that one that shrinks meanwhile does no harm.
AT_ONCE = 64 << 20
#: Zlib's; higher ones take longer and save little.
COMPRESSION = 3
LOCK_SECONDS = 30.0
_SQLITE = b"SQLite format 3\0"
_BESIDE_SQLITE = ("-wal", "-shm", "-journal")
_LEFT_OUT = {RESTORING, "lost+found"}
#: How backups went is told anew by the next one, and is not true of what was restored.
_NOT_COPIED = {"backup-status.json"}
#: What makes a folder one of ours is put in its place last.
_LAST = ("home.json", "federation.toml", "site.toml")


def write_tree(folder: Path, stream: IO[bytes], scratch: Path) -> int:
    """Write a folder; how many files.

    Parameters
    ----------
    folder : Path
    stream : binary file
    scratch : Path
        Folder in which databases are copied first.

    Raises
    ------
    OSError, sqlite3.Error
        When something cannot be read or written.
    HomeError
        When an egress log is held by another process for too long.
    """
    folders, files = _found(folder)
    logs = [each for each in folders if (each / "log.jsonl").is_file() and each.name == "egress"]
    databases = [each for each in files if _is_sqlite(each)]
    beside = {Path(f"{each}{end}") for each in databases for end in _BESIDE_SQLITE}
    with (
        gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=COMPRESSION, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for each in folders:
            tar.addfile(_entry(tar, folder, each))
        count = 0
        for log in logs:
            with _still(log):
                for each in files:
                    count += each.parent == log and _add(tar, folder, each)
        for each in databases:
            copy = scratch / "database"
            _copy_database(each, copy)
            count += _add(tar, folder, each, copy)
            copy.unlink()
        done = {*databases, *beside}
        for each in files:
            if each.parent not in logs and each not in done:
                count += _add(tar, folder, each)
    return count


def read_tree(stream: IO[bytes], target: Path) -> int:
    """Unpack into an empty folder; how many files.

    Nothing is written outside of it, whatever the names in the tar file are.

    Raises
    ------
    OSError
        When something cannot be written.
    HomeError
        When it is no tar file, or holds what does not belong there.
    """
    try:
        with (
            gzip.GzipFile(fileobj=stream, mode="rb") as packed,
            tarfile.open(fileobj=packed, mode="r|") as tar,
        ):
            return _unpack(tar, target)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError) as error:
        raise HomeError(f"a folder of the backup cannot be unpacked: {error}") from None


def _unpack(tar: tarfile.TarFile, target: Path) -> int:
    """Make what `write_tree` writes, and nothing else; how many files.

    The standard library's own filters came with Python 3.11.4, and distributions have older ones.
    Links are made last: nothing is written through one.
    """
    count, links = 0, []
    for member in tar:
        place = _place(target, member.name)
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(member.mode & 0o755 | 0o700)
        elif member.isreg():
            _write_file(tar, member, place)
            count += 1
        elif member.issym():
            links.append((place, member.linkname))
        else:
            raise HomeError(f"a folder of the backup holds {member.name!r}, no file and no folder")
    for place, leads in links:
        inside = (place.parent / leads).resolve().is_relative_to(target.resolve())
        if Path(leads).is_absolute() or not inside:
            raise HomeError(f"a folder of the backup holds {place.name!r}, which leads out of it")
        place.symlink_to(leads)
    return count


def _place(target: Path, name: str) -> Path:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise HomeError(f"a folder of the backup holds {name!r}, which lies outside of it")
    return target / name


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    content = tar.extractfile(member)
    if content is None:
        raise HomeError(f"a folder of the backup holds {member.name!r} without its content")
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as file:
        shutil.copyfileobj(content, file)
    runs = 0o755 if member.mode & 0o100 else 0o644
    place.chmod(member.mode & runs | 0o600)
    os.utime(place, (member.mtime, member.mtime))


def check_tree(stream: IO[bytes]) -> int:
    """Read a tar file to its end; how many files.

    Raises
    ------
    HomeError
        When it is none, or is cut short.
    """
    try:
        with (
            gzip.GzipFile(fileobj=stream, mode="rb") as packed,
            tarfile.open(fileobj=packed, mode="r|") as tar,
        ):
            return sum(member.isreg() for member in tar)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise HomeError(f"a folder of the backup cannot be read: {error}") from None


def last(names: list[str]) -> list[str]:
    """Names in the order in which they are put in their place.

    >>> last(["site.toml", "egress", "node.key"])
    ['egress', 'node.key', 'site.toml']
    """
    return sorted(names, key=lambda name: (name in _LAST, name))


def _found(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders, parents first, and files, links among them; sorted."""
    folders, files = [], []

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for place, inner, names in os.walk(folder, onerror=fail):
        here = Path(place)
        inner[:] = sorted(n for n in inner if n not in _LEFT_OUT and not n.startswith(REPLACED))
        links = [name for name in inner if (here / name).is_symlink()]
        folders.append(here)
        kept = {*names, *links} - _NOT_COPIED
        files += [here / name for name in sorted(kept) if not name.endswith(".part")]
        inner[:] = [name for name in inner if name not in links]
    return folders, files


def _entry(tar: tarfile.TarFile, root: Path, folder: Path) -> tarfile.TarInfo:
    return tar.gettarinfo(folder, str(folder.relative_to(root)))


def _add(tar: tarfile.TarFile, root: Path, file: Path, source: Path | None = None) -> bool:
    """Add a file or a link that leads no further than the root; False for anything else."""
    name = str(file.relative_to(root))
    if file.is_symlink():
        inside = (file.parent / file.readlink()).resolve().is_relative_to(root.resolve())
        if inside and not file.readlink().is_absolute():
            tar.addfile(tar.gettarinfo(file, name))
        return False
    try:
        if not file.is_file():
            return False
        with (file if source is None else source).open("rb") as stream:
            entry = tar.gettarinfo(arcname=name, fileobj=stream)
            entry.mode = file.stat().st_mode & 0o7777
            if entry.size <= AT_ONCE:
                content = stream.read(entry.size)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            else:
                tar.addfile(entry, stream)
    except FileNotFoundError:
        return False  # it went away meanwhile, as what is replaced does
    return True


def _is_sqlite(file: Path) -> bool:
    if file.is_symlink() or not file.is_file():
        return False
    try:
        with file.open("rb") as stream:
            return stream.read(len(_SQLITE)) == _SQLITE
    except FileNotFoundError:
        return False


def _copy_database(file: Path, copy: Path) -> None:
    address = f"{file.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=LOCK_SECONDS)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        # A copy of one in WAL mode is whole without a file beside it.
        target.execute("PRAGMA journal_mode = DELETE")


@contextmanager
def _still(log: Path) -> Iterator[None]:
    """Hold the lock of an egress log, where there is one, without writing anything."""
    try:
        stream = (log / "lock").open("rb")
    except FileNotFoundError:
        yield
        return
    with stream:
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise HomeError(f"{log}: another process holds the egress log") from None
                time.sleep(0.05)
        yield
