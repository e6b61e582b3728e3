"""A small process that owns a federation's processes and outlives nobody.

Run as ``python -m fedrisk.federation.guardian [FOLDER]`` with a pipe on standard input. Each line
is a JSON object that starts a process, ``{"name": ..., "argv": [...], "env": {...}, "log": FILE}``,
or ends one, ``{"stop": NAME}``, by SIGTERM and after a grace period by SIGKILL. When the pipe
closes, because its owner ended in whatever way, or on SIGTERM or SIGINT, every process it started
ends, and so do theirs; then FOLDER is removed. Each exit is told on standard output, one JSON line;
a process that could not be started is told like one that exited with 127.

Only the standard library is used, so that it starts at once.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: Seconds that processes have to end by themselves after SIGTERM.
GRACE = 6.0
#: Seconds for the kernel to end what got SIGKILL; one that hangs in it, on a lost disk, is left.
KILL_SECONDS = 5.0
#: Exit code of a program that could not be started, as a shell's.
NOT_STARTED = 127
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1
#: Loaded here: between fork and exec the loader's lock may be another thread's for ever.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def adopt_orphans() -> None:
    """Let grandchildren whose parent ended become children of this process (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, even by SIGKILL (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Process ids of everything below ``root``, children before grandchildren (Linux)."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found


def _signal(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def stop_all(grace: float = GRACE) -> None:
    """End every descendant: SIGTERM, a grace period, then SIGKILL."""
    for process in descendants(os.getpid()):
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while descendants(os.getpid()) and time.monotonic() < deadline:
        _reap()
        time.sleep(0.05)
    deadline = time.monotonic() + KILL_SECONDS
    while (left := descendants(os.getpid())) and time.monotonic() < deadline:
        for process in left:
            _signal(process, signal.SIGKILL)
        _reap()
        time.sleep(0.02)


def _reap() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if process == 0:
            return ended
        ended.append((process, os.waitstatus_to_exitcode(status)))


def start(order: dict[str, Any]) -> int:
    """Start one process with its output in its log; return its process id."""
    log = Path(order["log"])
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 the owner names the program
            order["argv"],
            env=order["env"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    process.returncode = 0  # reaped here by process id, not by its Popen object
    return process.pid


def tell(**event: object) -> None:
    """Print an event as a JSON line; the owner may already be gone."""
    try:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        return


class Children:
    """The processes that are to run, by process id, and those that are to end."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._kill_at: dict[int, float] = {}

    def obey(self, order: dict[str, Any]) -> None:
        """Start a process, or begin to end it."""
        if "stop" in order:
            for process in [p for p, name in self._names.items() if name == order["stop"]]:
                _signal(process, signal.SIGTERM)
                self._kill_at.setdefault(process, time.monotonic() + GRACE)
            return
        try:
            self._names[start(order)] = order["name"]
        except OSError as error:
            sys.stderr.write(f"{order['name']}: {error}\n")
            sys.stderr.flush()
            tell(exited=order["name"], code=NOT_STARTED)

    def look(self) -> None:
        """Tell who has exited, and end those who were told to and did not."""
        for process, code in _reap():
            self._kill_at.pop(process, None)
            if process in self._names:
                tell(exited=self._names.pop(process), code=code)
        for process, due in self._kill_at.items():
            if time.monotonic() > due:
                _signal(process, signal.SIGKILL)


def main() -> None:
    """Serve orders until the owner is gone, then leave neither processes nor folders."""
    adopt_orphans()
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopping.append(number))
    children = Children()
    pending = b""
    while not stopping:
        children.look()
        ready, _, _ = select.select([0], [], [], 0.1)
        if not ready:
            continue
        data = os.read(0, 65_536)
        if not data:
            break
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            children.obey(json.loads(line))
    stop_all()
    for folder in sys.argv[1:]:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
