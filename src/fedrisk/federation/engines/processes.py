"""The local federation's processes, seen from the command that owns them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from fedrisk.errors import FederationError

#: Seconds for the guardian to end everything before its owner stops waiting for it, and to follow
#: a signal.
STOP_SECONDS, SIGNAL_SECONDS = 15.0, 3.0


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def flower_environment(
    base: Mapping[str, str], flower_home: Path, scripts: Path | None
) -> dict[str, str]:
    """The environment of Flower's processes: our executables first, nothing sent home.

    Parameters
    ----------
    base : mapping
        The environment to start from, usually this process's.
    flower_home : Path
        Where Flower keeps its configuration (``FLWR_HOME``).
    scripts : Path or None
        Folder of the scripts that stand in for Flower's commands; None for Flower's own alone.
    """
    own = str(Path(sys.executable).parent)
    if scripts is not None:
        own = str(scripts) + os.pathsep + own
    return dict(base) | {
        "PATH": own + os.pathsep + base.get("PATH", ""),
        "FLWR_HOME": str(flower_home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
        "OMP_NUM_THREADS": base.get("OMP_NUM_THREADS", "1"),
        "OPENBLAS_NUM_THREADS": base.get("OPENBLAS_NUM_THREADS", "1"),
    }


@dataclass
class Processes:
    """Processes that end when this object is closed or its process ends, whatever way it ends.

    Parameters
    ----------
    environment : mapping
        Of every process.
    logs : Path
        Folder of their logs, ``NAME.log`` each.

    Attributes
    ----------
    exited : dict
        Exit codes of the processes that have ended, by name.
    private : str
        A folder for sockets, whose paths must be short; only this user can enter it, and it is
        gone when the processes are.
    """

    environment: Mapping[str, str]
    logs: Path
    exited: dict[str, int] = field(default_factory=dict)
    private: str = ""
    _guardian: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        self.private = tempfile.mkdtemp(prefix="fedrisk-")
        with (self.logs / "guardian.log").open("ab") as log:
            self._guardian = subprocess.Popen(  # noqa: S603 our own module
                [sys.executable, "-m", "fedrisk.federation.guardian", self.private],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(self.environment),
                start_new_session=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        guardian = self._running()
        try:
            if guardian.stdin is not None:
                # What was not sent is sent now: a guardian that was killed reads no more.
                with suppress(BrokenPipeError):
                    guardian.stdin.close()
            _end(guardian)
        finally:
            shutil.rmtree(self.private, ignore_errors=True)

    def start(self, name: str, argv: Sequence[str]) -> None:
        """Start a process; its output goes to ``NAME.log``."""
        order: dict[str, object] = {
            "name": name,
            "argv": list(argv),
            "env": dict(self.environment),
            "log": str(self.logs / f"{name}.log"),
        }
        self._order(order)

    def stop(self, name: str) -> None:
        """Ask a process to end, by SIGTERM; its exit is told like any other."""
        self._order({"stop": name})

    def take_exits(self) -> dict[str, int]:
        """Exit codes of the processes that have ended since the last call, by name."""
        return {name: self.exited.pop(name) for name in list(self.exited)}

    def guarded(self) -> bool:
        """Whether the guardian itself is alive; without it every process has ended."""
        return self._running().poll() is None

    def check(self) -> None:
        """Raise FederationError when a process has ended: each is meant to run until the end."""
        if not self.exited:
            return
        name, code = next(iter(self.exited.items()))
        raise FederationError(
            f"{name} ended with code {code}: {self.last_line(name)}",
            hint=f"its log: {self.logs / name}.log",
        )

    def last_line(self, name: str) -> str:
        """The last line of a process's log that says something."""
        log = self.logs / f"{name}.log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else "no output"

    def wait_for_port(self, port: int, deadline: float) -> None:
        """Wait until something listens on a loopback port.

        Raises
        ------
        FederationError
            When a process ends, or nothing listens after ``deadline`` seconds.
        """
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            self.check()
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise FederationError(f"nothing listens on port {port} after {deadline:g} s")

    def wait_for_file(self, path: Path, deadline: float) -> None:
        """Wait until a path exists, such as a socket.

        Raises
        ------
        FederationError
            When a process ends, or it is not there after ``deadline`` seconds.
        """
        end = time.monotonic() + deadline
        while not path.exists():
            self.check()
            if time.monotonic() > end:
                raise FederationError(f"{path.name} is not there after {deadline:g} s")
            time.sleep(0.05)

    def _order(self, order: dict[str, object]) -> None:
        guardian = self._running()
        if guardian.stdin is None:
            raise RuntimeError("the guardian was started without a pipe")
        guardian.stdin.write(json.dumps(order).encode() + b"\n")
        guardian.stdin.flush()

    def _listen(self) -> None:
        guardian = self._running()
        if guardian.stdout is None:
            return
        with guardian.stdout:
            for line in guardian.stdout:
                event = json.loads(line)
                self.exited[event["exited"]] = event["code"]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._guardian is None:
            raise RuntimeError("use Processes as a context manager")
        return self._guardian


def _end(guardian: subprocess.Popen[bytes]) -> None:
    """Wait for its end, with a signal and then SIGKILL where it does not come."""
    for seconds, harder in ((STOP_SECONDS, guardian.terminate), (SIGNAL_SECONDS, guardian.kill)):
        try:
            guardian.wait(seconds)
        except subprocess.TimeoutExpired:
            harder()
        else:
            return
    with suppress(subprocess.TimeoutExpired):  # it hangs in the kernel, on a lost disk, say
        guardian.wait(SIGNAL_SECONDS)
