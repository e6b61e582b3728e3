"""A job's files: body, pinned model and result, in a folder of its own that only its owner reads.

A result is written under the number of the claim that wrote it, ``result-3``. It is the job's
result only once the database says that the job is done under that number, so whatever a dead or
late holder wrote is never seen.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from pathlib import Path
from typing import IO, TYPE_CHECKING

from starlette.exceptions import HTTPException

from fedrisk.durable import PRIVATE, flush_folder, put, write_private
from fedrisk.errors import ModelFileError
from fedrisk.home import taken
from fedrisk.registry.cache import FILES, READ_ATTEMPTS, generation, read_model

if TYPE_CHECKING:
    from fedrisk.serving.jobs.store import Job

#: Seconds for which a folder without a body may be one that somebody is just making.
NEW_SECONDS = 60.0


class JobFiles:
    """The files of all jobs of one disk.

    Parameters
    ----------
    root : Path
        Made when the first job comes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self) -> str:
        """The name of this disk among others, made once."""
        path = self.root / ".place"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft = self.root / f".place-{uuid.uuid4().hex}"
            write_private(draft, uuid.uuid4().hex.encode())
            try:
                os.link(draft, path)  # whoever comes second takes the first one's
            except FileExistsError:
                pass
            finally:
                draft.unlink()
            flush_folder(self.root)
        return path.read_text().strip()

    def ids(self) -> list[str]:
        """Jobs that have a folder here."""
        if not self.root.is_dir():
            return []
        return [path.name for path in self.root.iterdir() if not path.name.startswith(".")]

    def used(self) -> int:
        """Bytes of all jobs."""
        found = (each for each in self.root.glob("[!.]*/*") if each.is_file())
        return sum(_size(path) for path in found)

    def body(self, identifier: str) -> Path:
        return self.root / identifier / "body"

    def result(self, job: Job) -> Path:
        return self.root / job.id / f"result-{job.fence}"

    def begin(self, identifier: str) -> IO[bytes]:
        """A draft of a job's body; while it is open, `sweepable` says no."""
        draft = self.body(identifier).with_name("body.part")
        draft.parent.mkdir(mode=0o700)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
        taken(handle)
        return os.fdopen(handle, "wb", buffering=0)

    def keep(self, identifier: str, draft: IO[bytes]) -> None:
        """Make a draft the job's body, on the disk."""
        os.fsync(draft.fileno())
        put(Path(str(self.body(identifier)) + ".part"), self.body(identifier))
        flush_folder(self.root)

    def sweepable(self, identifier: str, now: float) -> bool:
        """Whether nobody is just writing the body of a job that no database knows."""
        folder = self.root / identifier
        for name in ("body.part", "body"):
            try:
                with (folder / name).open("rb") as file:
                    return taken(file.fileno())
            except FileNotFoundError:
                continue
        try:
            return now - folder.stat().st_mtime > NEW_SECONDS
        except FileNotFoundError:
            return False

    def pin(self, identifier: str, cache: Path) -> Path:
        """The folder of the model that scores a job, chosen when this is first asked.

        Raises
        ------
        ModelNotFoundError, ModelFileError
            When the cache holds none, or a damaged one.
        """
        folder = self.root / identifier / "model"
        if folder.is_dir():
            return folder
        draft = folder.with_name("model.part")
        for _ in range(READ_ATTEMPTS):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(mode=0o700)
            source = generation(cache)
            if source is None:
                read_model(cache)  # says what is missing
                continue
            try:
                for name in FILES:
                    _link(source / name, draft / name)
            except FileNotFoundError:
                continue  # the cache moved on meanwhile
            flush_folder(draft)
            put(draft, folder)
            return folder
        raise ModelFileError(f"{cache} changed {READ_ATTEMPTS} times while it was read")

    def drop_results(self, job: Job) -> None:
        """Delete what earlier holders wrote."""
        for path in (self.root / job.id).glob("result-*"):
            if int(path.name.partition("-")[2]) < job.fence:  # a later one may be the result
                path.unlink(missing_ok=True)

    def drop_inputs(self, identifier: str) -> None:
        """Delete what an ended job needs no more."""
        self.body(identifier).unlink(missing_ok=True)
        shutil.rmtree(self.root / identifier / "model", ignore_errors=True)

    def clear(self, identifier: str) -> None:
        """Delete a job's files; its folder stays, so that it is remembered to expire."""
        folder = self.root / identifier
        for path in list(folder.iterdir()) if folder.is_dir() else []:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def remove(self, identifier: str) -> None:
        """Delete a job's folder."""
        shutil.rmtree(self.root / identifier, ignore_errors=True)


def told_of_room(error: OSError) -> Exception:
    """What a caller is told of a disk that takes no more; any other error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_room("the server's disk is full")
    return error


def no_room(why: str) -> HTTPException:
    """The refusal of what finds no room."""
    return HTTPException(507, f"{why}; fetch and delete results of jobs, or come again later")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)  # another file system, or one without links


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
