from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedrisk.errors import UsageError
from fedrisk.serving.journal_target import FileTarget, OutputTarget, open_target


def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    target = FileTarget(path)
    assert target.write([b"one\n", b"two\n"]) == 2
    target.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_file_that_was_moved_away_is_followed_by_another(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    target = FileTarget(path)
    target.write([b"one\n"])
    path.rename(tmp_path / "audit.1")
    target.write([b"two\n"])
    target.close()
    assert (tmp_path / "audit.1").read_bytes() == b"one\n"
    assert path.read_bytes() == b"two\n"


@pytest.mark.parametrize("name", ["absent/audit", "."])
def test_what_is_no_file_is_refused_at_the_start(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="audit journal"):
        open_target(str(tmp_path / name))


WRITER = """
import sys
from pathlib import Path
from fedrisk.serving.journal_target import FileTarget
target = FileTarget(Path(sys.argv[1]))
for number in range(300):
    target.write([f"{sys.argv[2]} {number} {place} {'x' * 300}\\n".encode() for place in range(20)])
"""


def test_processes_that_share_a_file_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    started = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "ab"]
    assert [process.wait(60) for process in started] == [0, 0]
    lines = path.read_text().splitlines()
    wanted = {
        f"{name} {number} {place} {'x' * 300}"
        for name in "ab"
        for number in range(300)
        for place in range(20)
    }
    assert len(lines) == len(wanted)
    assert set(lines) == wanted


FULL = """
import resource, sys
from pathlib import Path
from fedrisk.serving.journal_target import FileTarget
path = Path(sys.argv[1])
target = FileTarget(path)
target.write([b"kept\\n"])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    target.write([b"x" * 2000 + b"\\n"])
except OSError:
    assert path.read_bytes() == b"kept\\n", path.stat()
    target.write([b"after\\n"])
    print("refused")
"""


def test_a_line_that_finds_no_room_leaves_no_half_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "audit")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "refused\n"
    assert (tmp_path / "audit").read_bytes() == b"kept\nafter\n"


def test_a_pipe_gets_at_once_what_one_write_takes_whole() -> None:
    reading, writing = os.pipe()
    target = OutputTarget(writing)
    lines = [b"x" * 1500 + b"\n"] * 5
    assert target.write(lines) == 2
    assert target.write([b"y" * 5000 + b"\n"]) == 1
    assert os.read(reading, 65536) == b"".join(lines[:2]) + b"y" * 5000 + b"\n"
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        target.write([b"nobody reads\n"])
    os.close(writing)
