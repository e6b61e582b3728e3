"""Whatever goes wrong while a file is written, the old one or the new one is there, whole."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disk import mounted

from fedrisk.durable import PRIVATE, put, replace, write_draft, write_private, write_whole


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is there already."""
    file = tmp_path / "kept.json"
    write_whole(file, "old")
    return file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def access(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_the_new_content_is_there_and_no_draft(file: Path) -> None:
    write_whole(file, "größer")
    assert file.read_bytes() == "größer".encode()
    assert names(file.parent) == [file.name]


def test_text_that_cannot_be_written_leaves_the_old_file(file: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "new \ud800")
    assert file.read_text() == "old"


def test_a_secret_is_its_owner_s_alone_from_the_first_byte_on(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    flush = os.fsync

    def look(descriptor: int) -> None:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            seen.append(stat.S_IMODE(found.st_mode))
        flush(descriptor)

    file.chmod(0o644)
    file.with_name(file.name + ".part").touch(0o644)  # left by a process that was killed
    monkeypatch.setattr(os, "fsync", look)
    write_private(file, b"secret")
    write_private(file.parent / "new" / "key", b"secret")
    assert seen == [PRIVATE, PRIVATE]
    assert access(file) == access(file.parent / "new" / "key") == PRIVATE


def test_other_files_have_the_usual_access(file: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(file.parent / "other", "")
    finally:
        os.umask(before)
    assert access(file.parent / "other") == 0o640


@pytest.mark.parametrize("durable", [True, False])
def test_content_is_on_the_disk_before_the_name_and_the_name_on_return(
    file: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    done: list[str] = []
    flush, rename = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("folder" if folder else f"file of {os.fstat(descriptor).st_size} bytes")
        flush(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    replace(file, b"new", durable=durable)
    assert done == (["file of 3 bytes", "rename", "folder"] if durable else ["rename"])
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("where", ["fsync", "rename"])
def test_a_failure_leaves_the_old_file_and_no_draft(
    file: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", fail) if where == "fsync" else (Path, "replace", fail)))
        with pytest.raises(OSError, match="Input/output"):
            replace(file, b"new")
    assert file.read_text() == "old"
    assert names(file.parent) == [file.name]


def test_a_draft_is_put_in_its_place_later(file: Path) -> None:
    draft = write_draft(file, b"new")
    assert file.read_text() == "old"
    put(draft, file)
    assert file.read_text() == "new"
    assert names(file.parent) == [file.name]


KILLED = """
import os, signal, sys
from pathlib import Path
from fedrisk import durable
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
durable.replace(Path(sys.argv[1]), b"new" * 1000)
"""


def test_a_kill_leaves_the_old_file_and_the_next_write_works(file: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(file)], timeout=60, check=False)
    assert done.returncode == -9
    assert file.read_text() == "old"
    write_whole(file, "new")
    assert file.read_text() == "new"
    assert names(file.parent) == [file.name]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    with mounted(tmp_path, "64k") as place:
        yield place


def test_a_disk_that_fills_up_leaves_the_old_file(small_disk: Path) -> None:
    file = small_disk / "kept.json"
    write_whole(file, "old")
    with pytest.raises(OSError, match="No space left"):
        replace(file, b"x" * 100_000)
    assert file.read_text() == "old"
    assert names(small_disk) == [file.name]
    replace(file, b"x" * 10_000)
    assert file.stat().st_size == 10_000
