"""A small process that owns a federation's processes and outlives nobody.

Run as ``python -m fedrisk.federation.guardian`` with a pipe on standard input. Each line is a JSON
object that starts a process, ``{"name": ..., "argv": [...], "env": {...}, "log": FILE}``, or asks
one to end, ``{"stop": NAME}``. When the
pipe closes, because its owner ended in whatever way, or on SIGTERM or SIGINT, every process it
started ends, and so do theirs. Each exit is told on standard output, one JSON line.

Only the standard library is used, so that it starts at once.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: Seconds that processes have to end by themselves after SIGTERM.
GRACE = 6.0
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1


def adopt_orphans() -> None:
    """Let grandchildren whose parent ended become children of this process (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, even by SIGKILL (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


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
    """End every descendant: SIGTERM, a grace period, then SIGKILL until none is left."""
    for process in descendants(os.getpid()):
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while descendants(os.getpid()) and time.monotonic() < deadline:
        _reap()
        time.sleep(0.05)
    while left := descendants(os.getpid()):
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


def _obey(order: dict[str, Any], names: dict[int, str]) -> None:
    if "stop" in order:
        for process in [p for p, name in names.items() if name == order["stop"]]:
            _signal(process, signal.SIGTERM)
        return
    names[start(order)] = order["name"]


def main() -> None:
    """Serve orders until the owner is gone."""
    adopt_orphans()
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopping.append(number))
    names: dict[int, str] = {}
    pending = b""
    while not stopping:
        for process, code in _reap():
            if process in names:
                tell(exited=names.pop(process), code=code)
        ready, _, _ = select.select([0], [], [], 0.1)
        if not ready:
            continue
        data = os.read(0, 65_536)
        if not data:
            break
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            _obey(json.loads(line), names)
    stop_all()


if __name__ == "__main__":
    main()
