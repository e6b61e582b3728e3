"""How long a coordinator and its sites are away after a disaster, and what is lost.

A real federation on the loopback interface: a coordinator and two sites train a champion, which is
served. Both back up, everything is killed and deleted, and restored. Printed: seconds and bytes of
the backups, seconds until the champion answers as before, until the sites are back, until the next
run has trained.

``recovery.py [--people N]``: people at each site, 200 days each (60).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedrisk.simulation import latest_start, write_cohort

COMMAND = str(Path(sys.executable).with_name("fedrisk"))
DAYS, PATIENCE = 200, 600.0
STEP = 0.2


def run(*words: object) -> dict[str, Any]:
    """Run a command to its end; its JSON, or nothing."""
    done = subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words}: {done.stderr}")
    return dict(json.loads(done.stdout)) if "--json" in words else {}


class Running:
    """Commands that run until they are killed."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *words: object) -> None:
        """Start one in a process group of its own."""
        with self._log.open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [COMMAND, *map(str, words)], stdout=log, stderr=log, start_new_session=True
                )
            )

    def kill(self) -> None:
        """Kill them at once, as a power cut would; their guardians see to what is below."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()


def until(condition: Callable[[], bool]) -> float:
    """Seconds until it is so."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > PATIENCE:
            raise SystemExit(f"{condition.__name__}: not within {PATIENCE:g} s")
        time.sleep(STEP)
    return time.perf_counter() - began


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def size(folder: Path) -> float:
    """Megabytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


class World:
    """A coordinator, two sites, and a server."""

    def __init__(self, folder: Path, people: int) -> None:
        start = latest_start(datetime.now(UTC).date(), DAYS)
        self.rows = write_cohort(folder / "rows", 2, people, DAYS, 7, start)
        self.study = folder / "rows" / "study.toml"
        self.fed = folder / "coordinator"
        self.sites = {name: folder / f"site-{name}" for name in self.rows}
        self.port, self.api = free_port(), free_port()
        self.keys = folder / "backup.key"
        self.running = Running(folder / "log")
        self.folder = folder

    def found(self) -> None:
        """Make the federation and approve its sites."""
        run("federation", "init", "--federation", self.fed, "--host", "127.0.0.1",
            "--port", self.port, "--listen", "127.0.0.1")  # fmt: skip
        for name, folder in self.sites.items():
            bundle = self.folder / f"{name}.json"
            run("federation", "add-site", name, "--federation", self.fed, "--output", bundle)
            run("site", "init", bundle, "--folder", folder, "--data", self.rows[name])
            request = folder / "join-request.json"
            told = run("site", "request", "--folder", folder, "--json")
            run("federation", "approve", name, request, "--federation", self.fed,
                "--fingerprint", told["fingerprint"])  # fmt: skip
            run("site", "approve", self.study, "--folder", folder, "--yes")
        run("backup", "keygen", "--output", self.keys)

    def start_coordinator(self) -> None:
        """Start the coordinator and the server."""
        self.running.start("federation", "start", "--federation", self.fed)
        self.running.start("serve", "--home", self.fed / "home", "--port", self.api)

    def start_sites(self) -> None:
        """Start both sites."""
        for folder in self.sites.values():
            self.running.start("site", "start", "--folder", folder)

    def online(self) -> bool:
        """Whether both sites are connected."""
        told = run("federation", "status", "--federation", self.fed, "--json")
        return [site["connection"] for site in told["sites"]] == ["online"] * len(self.sites)

    def answer(self) -> dict[str, Any] | None:
        """Score and version that the champion gives for a row; None while it gives none."""
        row = {
            "heart_rate": 70, "steps": 8000, "sleep_hours": 7, "respiratory_rate": 15,
            "body_temp": 36.6, "pm25": 12, "pm10": 20, "o3": 60, "no2": 20, "temperature": 18,
            "humidity": 55,
        }  # fmt: skip
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api}/predict",
            json.dumps(row).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                told = json.load(response)
        except OSError:
            return None
        return {"risk_score": told["risk_score"], "model": told["model"]}

    def train(self) -> dict[str, Any]:
        """One run over the sites."""
        return run("train", "--engine", "deployed", "--federation", self.fed,
                   "--study", self.study, "--json")  # fmt: skip

    def destroy(self) -> None:
        """All that a fire takes, but for the backups, their key, and the sites' rows."""
        self.running.kill()
        for folder in (self.fed, *self.sites.values()):
            shutil.rmtree(folder)


def timed(what: Callable[[], object]) -> float:
    """Seconds of a step."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def back_up(world: World) -> None:
    """Back up the coordinator, and each site as its operator would."""
    sealed = ("--recipient", f"{world.keys}.pub", "--json")
    to = world.folder / "backups"
    seconds = timed(lambda: run("backup", "create", "--output", to, "--federation", world.fed,
                                *sealed))  # fmt: skip
    checked = timed(lambda: run("backup", "verify", to, "--key", world.keys))
    print(
        f"coordinator: {size(world.fed):.1f} MB backed up in {seconds:.1f} s "
        f"({size(to):.1f} MB sealed), verified in {checked:.1f} s"
    )
    for name, folder in world.sites.items():
        own = world.folder / f"backups-{name}"
        seconds = timed(
            lambda f=folder, o=own: run("backup", "create", "--output", o, "--site", f, *sealed)  # type: ignore[misc]
        )
        print(f"site {name}: {size(folder):.1f} MB backed up in {seconds:.1f} s")


def recover(world: World, before: dict[str, Any] | None) -> None:
    """Restore, start, and tell how long each took, from the moment that somebody begins."""
    began = time.perf_counter()
    key = ("--key", world.keys)
    run("backup", "restore", world.folder / "backups", "--federation", world.fed, *key)
    restored = time.perf_counter() - began
    world.start_coordinator()
    until(lambda: world.answer() == before)
    answered = time.perf_counter() - began
    for name, folder in world.sites.items():
        run("backup", "restore", world.folder / f"backups-{name}", "--site", folder, *key)
        run("site", "egress", "--verify", "--folder", folder,
            "--head", world.fed / "heads" / f"{name}.json")  # fmt: skip
    world.start_sites()
    until(world.online)
    online = time.perf_counter() - began
    told = world.train()
    trained = time.perf_counter() - began
    print(f"coordinator restored after {restored:.1f} s")
    print(f"the champion answers as before after {answered:.1f} s")
    print(f"sites restored, logs verified, online after {online:.1f} s")
    print(f"version {told['model_version']} trained after {trained:.1f} s")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description="How long all is away after a disaster.")
    parser.add_argument("--people", type=int, default=60)
    people = parser.parse_args().people
    with tempfile.TemporaryDirectory(prefix="fedrisk-recovery-") as scratch, ExitStack() as stack:
        world = World(Path(scratch), people)
        stack.callback(world.running.kill)
        world.found()
        world.start_coordinator()
        world.start_sites()
        until(world.online)
        world.train()
        until(lambda: world.answer() is not None)
        before = world.answer()
        back_up(world)
        world.destroy()
        recover(world, before)


if __name__ == "__main__":
    main()
