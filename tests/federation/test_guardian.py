"""Whatever way the owner ends, no process is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

#: Starts a grandchild that ignores SIGTERM, in a session of its own, and waits.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
open(sys.argv[1], "w").write(f"{child.pid}")
time.sleep(600)
"""


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(condition, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def start_guardian(*folders: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "fedrisk.federation.guardian", *map(str, folders)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def order(guardian: subprocess.Popen[bytes], name: str, argv: list[str], log: Path) -> None:
    document = {"name": name, "argv": argv, "env": dict(os.environ), "log": str(log)}
    guardian.stdin.write(json.dumps(document).encode() + b"\n")
    guardian.stdin.flush()


@pytest.mark.parametrize("way", ["pipe", "SIGTERM", "SIGINT"])
def test_nothing_survives(tmp_path: Path, way: str) -> None:
    guardian, note = start_guardian(), tmp_path / "pid"
    order(guardian, "stubborn", [sys.executable, "-c", STUBBORN, str(note)], tmp_path / "log")
    assert wait_until(lambda: note.exists() and note.read_text())
    grandchild = int(note.read_text())
    assert alive(grandchild)
    if way != "pipe":
        guardian.send_signal(getattr(signal, way))
    guardian.communicate(timeout=30)
    assert not alive(grandchild)


#: Owns processes, tells their private folder and the guardian's process id, and waits.
OWNER = """
import os, sys, time
from pathlib import Path
from fedrisk.federation.engines.processes import Processes
with Processes(os.environ, Path(sys.argv[1])) as processes:
    (Path(processes.private) / "socket").touch()
    print(processes.private, processes._guardian.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL"])
def test_the_owners_private_folder_is_removed_though_it_was_killed(
    tmp_path: Path, way: str
) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path / "logs")]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    private, guardian = owner.stdout.readline().split()
    assert Path(private, "socket").exists()
    owner.send_signal(getattr(signal, way))
    owner.communicate(timeout=30)
    assert wait_until(lambda: not alive(int(guardian)))
    assert not Path(private).exists()


def test_children_end_when_the_guardian_is_killed(tmp_path: Path) -> None:
    guardian, note = start_guardian(), tmp_path / "pid"
    code = f"import os,time; open({str(note)!r},'w').write(str(os.getpid())); time.sleep(600)"
    order(guardian, "child", [sys.executable, "-c", code], tmp_path / "log")
    assert wait_until(lambda: note.exists() and note.read_text())
    child = int(note.read_text())
    guardian.kill()
    guardian.communicate(timeout=10)
    assert wait_until(lambda: not alive(child))


def test_exit_is_told_with_its_code_and_output_goes_to_the_log(tmp_path: Path) -> None:
    guardian = start_guardian()
    code = "import sys; print('last words'); sys.exit(7)"
    order(guardian, "short", [sys.executable, "-c", code], tmp_path / "logs" / "short.log")
    event = json.loads(guardian.stdout.readline())
    assert event == {"exited": "short", "code": 7}
    assert "last words" in (tmp_path / "logs" / "short.log").read_text()
    guardian.communicate(timeout=20)


def test_stopped_process_that_ignores_it_is_killed(tmp_path: Path) -> None:
    guardian, note = start_guardian(), tmp_path / "ready"
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"open({str(note)!r}, 'w'); time.sleep(600)"
    )
    order(guardian, "deaf", [sys.executable, "-c", code], tmp_path / "log")
    assert wait_until(note.exists)
    guardian.stdin.write(b'{"stop": "deaf"}\n')
    guardian.stdin.flush()
    assert json.loads(guardian.stdout.readline()) == {"exited": "deaf", "code": -signal.SIGKILL}
    guardian.communicate(timeout=20)


def test_program_that_cannot_be_started_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    guardian, note = start_guardian(), tmp_path / "pid"
    order(guardian, "missing", [str(tmp_path / "no such program")], tmp_path / "log")
    assert json.loads(guardian.stdout.readline()) == {"exited": "missing", "code": 127}
    code = f"import os,time; open({str(note)!r},'w').write(str(os.getpid())); time.sleep(600)"
    order(guardian, "child", [sys.executable, "-c", code], tmp_path / "log")
    assert wait_until(lambda: note.exists() and note.read_text())
    guardian.communicate(timeout=20)
