"""Where a run stands, which process is which, and what has been done to them."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.federation.deployment import Deployment
from e2e.federation.hosts import PORT, Host


@dataclass(frozen=True)
class Undisturbed:
    """A training that nothing happened to: its folder, what its command told, its model."""

    run: Path
    told: dict[str, Any]
    model: dict[str, Any]
    rounds: int

    @classmethod
    def of(cls, run: Path, told: dict[str, Any]) -> Undisturbed:
        """What a finished run has left."""
        return cls(run, told, model_of(run), len(lines_of(run)))


@dataclass
class Fault:
    """One fault and what became of it."""

    what: str
    phase: str
    seconds: float


@dataclass
class Account:
    """What the tests did, for the summary at their end."""

    survived: list[Fault] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)


#: Told at the end of the session.
ACCOUNT = Account()


def lines_of(run: Path) -> list[dict[str, Any]]:
    """Finished rounds of a run."""
    path = run / "progress.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def outcome_of(run: Path) -> dict[str, Any] | None:
    """How a run ended; None while it goes on."""
    path = run / "outcome.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def model_of(run: Path) -> dict[str, Any]:
    """A run's model, to the last bit of every number, without when and how it came about."""
    model = json.loads((run / "result.json").read_text(encoding="utf-8"))["model"]
    return {key: value for key, value in model.items() if key != "about"}


def coefficients_of(model: dict[str, Any]) -> list[float]:
    """Intercept and coefficients."""
    return [model["intercept"], *(column["coefficient"] for column in model["columns"])]


def phase_of(run: Path, rounds: int) -> str:
    """``summary``, ``newton 1`` and so on, ``evaluation``, ``reference``, ``recording``, ``ended``.

    Parameters
    ----------
    run : Path
    rounds : int
        How many rounds an undisturbed run takes.
    """
    if outcome_of(run) is not None:
        return "ended"
    done = len(lines_of(run))
    if done == 0:
        return "summary"
    if done < rounds - 2:
        return f"newton {done}"
    return {rounds - 2: "evaluation", rounds - 1: "reference"}.get(done, "recording")


def server_app(run: Path) -> int:
    """The process that holds the run's newest lock; 0 where none does."""
    files = sorted(run.glob("alive*"), key=lambda path: int(path.name.partition("-")[2] or 0))
    if not files:
        return 0
    inode = files[-1].stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and int(words[5].rpartition(":")[2]) == inode:
            return int(words[4])
    return 0


def listener(host: Host, port: int) -> int:
    """The process that listens on a port of a host; 0 where none does."""
    told = host.run(["ss", "-Hltnp", f"sport = :{port}"], dict(os.environ)).stdout
    found = re.search(r"pid=(\d+)", told)
    return int(found.group(1)) if found else 0


def gateway(federation: Deployment) -> int:
    """The process behind the coordinator's one port."""
    return listener(federation.network.coordinator, PORT)


def superlink(federation: Deployment) -> int:
    """The coordinator's SuperLink."""
    config = (federation.coordinator / "flower" / "config.toml").read_text(encoding="utf-8")
    found = re.search(r"127\.0\.0\.1:(\d+)", config)
    return listener(federation.network.coordinator, int(found.group(1))) if found else 0


def supernode(federation: Deployment, site: str) -> int:
    """A site's SuperNode: it listens on the port that its command line names."""
    host = federation.hosts[site]
    for process in host.pids():
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if any(word.endswith("flower-supernode") for word in words) and "--port" in words:
            return listener(host, int(words[words.index("--port") + 1]))
    return 0


def guardian(federation: Deployment) -> int:
    """The process that owns the coordinator's others, and whose end ends them."""
    return _started_as(federation, "fedrisk.federation.guardian", lambda _process: True)


def resident(federation: Deployment) -> int:
    """The process that SuperLink and the runs' processes are forks of, which are named alike."""
    owner = guardian(federation)
    name = "fedrisk.federation.resident.server"
    return _started_as(federation, name, lambda process: _parent(process) == owner)


def _started_as(federation: Deployment, module: str, wanted: Callable[[int], bool]) -> int:
    for process in federation.network.coordinator.pids():
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
            if module in words and wanted(process):
                return process
        except OSError:
            continue
    return 0


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def kill(find: Callable[[], int]) -> int:
    """SIGKILL what is found; its process id, 0 where nothing was."""
    process = find()
    if process:
        os.kill(process, signal.SIGKILL)
    return process
