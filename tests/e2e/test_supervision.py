"""Kill what a coordinator and a site run, one after the other: it comes back; at the end nothing is
left. Real processes, TLS and keys, on the loopback interface.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from running import processes_of, start, wait_until

from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.federation.provisioning.site import SiteFolder

pytestmark = [
    pytest.mark.federation,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

#: Longer than SuperLink takes to believe that a SuperNode is gone, on a busy machine.
BACK = 150.0


@dataclass
class Started:
    """A `start` command and what it says of itself."""

    folder: Path
    command: subprocess.Popen[str]
    output: Path

    def report(self) -> dict[str, Any]:
        """What ``/ready`` answers; empty while there is nobody."""
        try:
            address = json.loads((self.folder / "running.json").read_text())["health"]
            with urllib.request.urlopen(f"{address}/ready", timeout=5) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))
        except (OSError, ValueError):
            return {}

    def ready(self) -> bool:
        return bool(self.report().get("ready"))

    def restarts(self, service: str) -> int:
        return int(self.report().get("services", {}).get(service, {}).get("restarts", -1))

    def said(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def below(self) -> list[psutil.Process]:
        return psutil.Process(self.command.pid).children(recursive=True)

    def process(self, *words: str) -> psutil.Process:
        """The first process below whose command line has these words."""
        for process in self.below():
            line = " ".join(process.cmdline())
            if all(word in line for word in words):
                return process
        raise AssertionError(f"no process with {words} below {self.folder.name}")

    def guardian(self) -> psutil.Process:
        return self.process("fedrisk.federation.guardian")

    def resident(self) -> psutil.Process:
        return self.process("fedrisk.federation.resident.server")

    def listener(self, port: int) -> psutil.Process:
        """Who listens on a port: a fork of the resident process has its command line."""
        for process in self.below():
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return process
        raise AssertionError(f"nobody below {self.folder.name} listens on {port}")

    def superlink(self) -> psutil.Process:
        return self.listener(self.report()["superlink_port"])

    def supernode(self) -> psutil.Process:
        words = self.process("flower-supernode").cmdline()
        return self.listener(int(words[words.index("--port") + 1]))


def start_in(folder: Path, what: str, flag: str, **settings: str) -> Started:
    command = start(what, "start", flag, str(folder), **settings)
    output = folder / "events.jsonl"
    # A pipe that nobody reads would fill; a file can be read at any time.
    copy = subprocess.Popen(["tee", str(output)], stdin=command.stdout, stdout=subprocess.DEVNULL)
    command.stdout.close()
    command.stdout = None
    started = Started(folder, command, output)
    started.copy = copy  # type: ignore[attr-defined]
    return started


def end(started: Started) -> None:
    """Whatever a test did, leave nothing; the guardian sees to what is below."""
    started.command.kill()
    started.command.communicate(timeout=20)
    started.copy.wait(20)  # type: ignore[attr-defined]


def provision(folder: Path) -> tuple[Federation, SiteFolder]:
    """A federation with one approved site."""
    now = datetime.now(UTC)
    (port,) = free_ports(1)
    settings = new_settings(["127.0.0.1"], port, listen="127.0.0.1")
    federation = Federation.create(folder / "coordinator", settings, now)
    rows = folder / "rows.csv"
    rows.write_text("patient,age,died\n1,60,0\n")
    site = SiteFolder.create(folder / "north", federation.invite("north", now), rows)
    federation.approve("north", site.request(), now)
    return federation, site


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Started, Started]]:
    federation, folder = provision(tmp_path_factory.mktemp("supervision"))
    coordinator = start_in(federation.folder, "federation", "--federation")
    site = start_in(folder.folder, "site", "--folder")
    try:
        assert wait_until(lambda: coordinator.ready() and site.ready(), BACK), show(
            coordinator, site
        )
        yield coordinator, site
    finally:
        end(site)
        end(coordinator)


def show(*commands: Started) -> str:
    """What is worth knowing of a failure."""
    parts = []
    for one in commands:
        parts += [json.dumps(one.report()), *one.output.read_text().splitlines()[-12:]]
        for log in sorted((one.folder / "logs").glob("*.log")):
            parts += [f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-12:]]
    return "\n".join(parts)


def comes_back(one: Started, service: str, kill: Callable[[], psutil.Process]) -> None:
    """Kill -9 a process: its service is restarted, and everything is ready again."""
    before = one.restarts(service)
    kill().kill()
    assert wait_until(lambda: one.restarts(service) > before, 30), show(one)
    assert wait_until(one.ready, BACK), show(one)


def heartbeat(coordinator: Started) -> float:
    """Until when SuperLink takes its node for online: each heartbeat of the site moves it."""
    with closing(sqlite3.connect(coordinator.folder / "superlink.db")) as database:
        (until,) = database.execute("SELECT MAX(online_until) FROM node").fetchone()
    return float(until or 0.0)


def test_superlink_comes_back_and_the_site_with_it(running: tuple[Started, Started]) -> None:
    coordinator, site = running
    comes_back(coordinator, "superlink", coordinator.superlink)
    before = heartbeat(coordinator)
    # Where SuperLink is back at once, the SuperNode notices nothing and says nothing.
    assert wait_until(lambda: heartbeat(coordinator) > before, BACK), show(site)
    assert coordinator.restarts("gateway") == 0, "the door stays open"


def test_gateway_comes_back(running: tuple[Started, Started]) -> None:
    coordinator, _ = running
    comes_back(coordinator, "gateway", lambda: coordinator.process("fedrisk.cli.gateway"))


def test_a_refused_supernode_comes_back_by_itself(running: tuple[Started, Started]) -> None:
    """SuperLink refuses the new SuperNode (412) while it holds the killed one for connected."""
    coordinator, site = running
    said = len(site.said("supernode"))
    comes_back(site, "supernode", site.supernode)
    assert "Failed to activate SuperNode" in site.said("supernode")[said:], show(site)
    assert site.restarts("supernode") >= 2
    assert site.report()["fault"] == ""
    assert coordinator.ready()


def test_killed_guardian_and_resident_are_got_over(running: tuple[Started, Started]) -> None:
    """The coordinator's guardian and the site's resident process at one time."""
    coordinator, site = running
    guardian, resident = coordinator.guardian(), site.resident()
    below = [process for process in coordinator.below() if process != guardian]
    guardian.kill()
    resident.kill()
    assert wait_until(lambda: not any(map(lives, below)), 15), "what it guarded has ended"
    assert wait_until(lambda: site.restarts("resident") == 1, 30), show(site)
    assert wait_until(lambda: coordinator.ready() and site.ready(), BACK), show(coordinator, site)
    assert coordinator.guardian() != guardian
    assert site.resident() != resident
    assert "guardian lost" in [event["event"] for event in coordinator.events()]


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_nothing_is_left_after_the_command_is_killed(running: tuple[Started, Started]) -> None:
    _, site = running
    site.command.kill()
    site.command.wait(20)
    assert wait_until(lambda: not processes_of(site.folder), 20), processes_of(site.folder)


def test_ends_orderly_within_seconds_by_a_signal(running: tuple[Started, Started]) -> None:
    coordinator, _ = running
    assert processes_of(coordinator.folder)
    coordinator.command.send_signal(signal.SIGTERM)
    assert coordinator.command.wait(25) == 0, coordinator.command.stderr.read()
    assert wait_until(lambda: not processes_of(coordinator.folder), 2)
    assert [event["event"] for event in coordinator.events()][-2:] == ["stopping", "stopped"]
    assert not (coordinator.folder / "running.json").exists()
    assert coordinator.command.stderr.read() == ""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_during_the_start_ends_it_too(tmp_path: Path, name: str) -> None:
    federation, _ = provision(tmp_path)
    started = start_in(federation.folder, "federation", "--federation")
    try:
        assert wait_until(lambda: (federation.folder / "running.json").exists(), 60)
        started.command.send_signal(getattr(signal, name))
        assert started.command.wait(25) == 0, started.command.stderr.read()
        assert wait_until(lambda: not processes_of(federation.folder), 2)
    finally:
        end(started)
