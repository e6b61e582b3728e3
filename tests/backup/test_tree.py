"""A folder as one tar file: what comes back, and what nobody may slip in."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from fedrisk.backup.tree import check_tree, read_tree, write_tree
from fedrisk.errors import HomeError


def packed(*members: tarfile.TarInfo) -> io.BytesIO:
    """A tar file of somebody's own making; regular files hold five bytes."""
    made = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=made, mode="wb") as outer,
        tarfile.open(fileobj=outer, mode="w|") as tar,
    ):
        for each in members:
            each.size = 5 if each.isreg() else 0
            tar.addfile(each, io.BytesIO(b"hello") if each.isreg() else None)
    made.seek(0)
    return made


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, 0o777
    return made


def test_files_links_times_and_modes_come_back(tmp_path: Path) -> None:
    folder, scratch, target = (tmp_path / name for name in ("folder", "scratch", "target"))
    for each in (folder / "deep" / "empty", scratch, target):
        each.mkdir(parents=True)
    (folder / "deep" / "run").write_bytes(b"#!")
    (folder / "deep" / "run").chmod(0o750)
    (folder / "private").write_bytes(b"key")
    (folder / "private").chmod(0o600)
    os.utime(folder / "private", (1_000, 1_000))
    (folder / "newest").symlink_to("deep/run")
    stream = io.BytesIO()
    assert write_tree(folder, stream, scratch) == 2
    stream.seek(0)
    assert check_tree(stream) == 2
    stream.seek(0)
    assert read_tree(stream, target) == 2
    assert (target / "newest").readlink() == Path("deep/run")
    assert (target / "newest").read_bytes() == b"#!"
    assert (target / "deep" / "empty").is_dir()
    modes = [stat.S_IMODE((target / n).stat().st_mode) for n in ("deep/run", "private", "deep")]
    assert modes[:2] == [0o750, 0o600]
    assert (target / "private").stat().st_mtime == 1_000


@pytest.mark.parametrize(
    "members",
    [
        [entry("../outside")],
        [entry("a/../../outside")],
        [entry("/outside")],
        [entry("out", tarfile.SYMTYPE, ".."), entry("out/outside")],
        [entry("out", tarfile.SYMTYPE, "/etc/passwd")],
        [entry("a/out", tarfile.SYMTYPE, "../../outside")],
        [entry("hard", tarfile.LNKTYPE, "/etc/passwd")],
        [entry("pipe", tarfile.FIFOTYPE)],
        [entry("device", tarfile.CHRTYPE)],
    ],
    ids=lambda members: members[-1].name,
)
def test_nothing_leaves_the_folder(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises((HomeError, OSError)):
        read_tree(packed(*members), target)
    assert [each.name for each in tmp_path.iterdir()] == ["target"]
    assert not any(each.is_symlink() or each.is_fifo() for each in target.rglob("*"))


def test_no_bit_that_gives_others_more_is_kept(tmp_path: Path) -> None:
    loud = entry("loud")
    loud.mode = 0o6777
    read_tree(packed(loud), tmp_path)
    assert stat.S_IMODE((tmp_path / "loud").stat().st_mode) == 0o755


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_what_is_cut_short_or_no_tar_is_told(tmp_path: Path, cut: float) -> None:
    whole = packed(*(entry(f"file-{n}") for n in range(50))).getvalue()
    with pytest.raises(HomeError, match="cannot be unpacked"):
        read_tree(io.BytesIO(whole[: int(len(whole) * cut)]), tmp_path)
    with pytest.raises(HomeError, match="cannot be read"):
        check_tree(io.BytesIO(b"no archive"))
