"""A forked command behaves as if it had been started: code, streams, environment, signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks with Unix sockets")

#: A resident process with small commands instead of Flower's.
SERVER = """
import os, socket, sys, time
from fedrisk.federation.resident.server import Resident

COUNT = [0]

def talk():
    COUNT[0] += 1
    print("out", sys.argv[1:], os.environ.get("WORD"), os.getcwd(), COUNT[0])
    print("err", file=sys.stderr)
    print("in", sys.stdin.readline().strip())

def fail():
    raise ValueError("what nobody caught")

def leave():
    sys.exit(3)

def wait():
    print("waiting", os.getpid(), flush=True)
    time.sleep(600)

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
Resident(listener, {"talk": talk, "fail": fail, "leave": leave, "wait": wait}).serve()
"""


def wait_until(condition, seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("r") / "s"
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(place)])
    assert wait_until(place.exists)
    yield place
    process.terminate()
    assert process.wait(10) == 0


def command(place: Path, *words: str, fallback: str = "/bin/false") -> list[str]:
    shim = str(files("fedrisk.federation.resident") / "shim.py")
    return [sys.executable, "-I", "-S", shim, str(place), fallback, *words]


def run(place: Path, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(place, *words), capture_output=True, text=True, timeout=20, **options
    )


def test_streams_arguments_environment_and_folder_are_the_caller_s(
    place: Path, tmp_path: Path
) -> None:
    done = run(place, "talk", "a b", input="hello\n", env={"WORD": "x"}, cwd=tmp_path)
    assert done.stdout == f"out ['a b'] x {tmp_path} 1\nin hello\n"
    assert (done.stderr, done.returncode) == ("err\n", 0)


def test_no_state_passes_from_call_to_call(place: Path) -> None:
    counts = [run(place, "talk", input="").stdout.splitlines()[0].split()[-1] for _ in range(3)]
    assert counts == ["1", "1", "1"]


def test_exit_code_is_the_command_s(place: Path) -> None:
    assert run(place, "leave").returncode == 3


def test_uncaught_error_is_printed_and_is_code_1(place: Path) -> None:
    done = run(place, "fail")
    assert done.returncode == 1
    assert "ValueError: what nobody caught" in done.stderr


def test_unknown_command_fails(place: Path) -> None:
    assert run(place, "nothing").returncode == 70


def waiting(place: Path) -> tuple[subprocess.Popen[str], int]:
    shim = subprocess.Popen(command(place, "wait"), stdout=subprocess.PIPE, text=True)
    return shim, int(shim.stdout.readline().split()[1])


def test_signal_reaches_the_command(place: Path) -> None:
    shim, process = waiting(place)
    shim.send_signal(signal.SIGTERM)
    shim.communicate(timeout=10)
    assert shim.returncode == 128 + signal.SIGTERM
    assert not alive(process)


def test_command_ends_when_its_caller_is_killed(place: Path) -> None:
    shim, process = waiting(place)
    shim.kill()
    shim.communicate(timeout=10)
    assert wait_until(lambda: not alive(process))


def test_many_at_once(place: Path) -> None:
    calls = [subprocess.Popen(command(place, "leave")) for _ in range(12)]
    assert [call.wait(20) for call in calls] == [3] * 12


def test_fallback_runs_flower_s_own_command(tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path / "absent", "talk", "1", "2", fallback="/bin/echo"),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "1 2\n"


def test_order_without_end_is_dropped(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(place))
        connection.settimeout(10)
        with pytest.raises(OSError):  # noqa: PT011, PT012 reset or broken pipe, as the kernel likes
            for _ in range(64):
                connection.sendall(b"x" * 65_536)
    assert run(place, "leave").returncode == 3
