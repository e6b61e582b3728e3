"""Network namespaces as separate machines: a coordinator, and sites that reach one port of it.

Each host has interfaces, addresses and a loopback of its own. A site is wired to the coordinator
alone, and its routing policy lets TCP to the coordinator's one port out and nothing else; so no
other machine, no other port, and nothing that calls in gets an answer. Needs root, Linux and `ip`.

Run as a program (``python hosts.py PREFIX``) this file is the keeper: it waits until whoever
started it is gone, in whatever way, and then ends every process in the hosts of that prefix and
removes them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

#: The coordinator's address; sites are numbered from the next block on.
COORDINATOR = "10.77.0.1"
#: The coordinator's one port.
PORT = 9092
#: Seconds for killed processes to be gone.
GONE_SECONDS = 20.0


def why_not() -> str:
    """Why there can be no namespaces here; empty where there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "`ip` is missing (Debian: iproute2)"
    return ""


def ip(*words: str) -> str:
    """Run `ip`; what it printed."""
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def names_of(prefix: str) -> list[str]:
    """Namespaces whose names begin so."""
    names = [line.split()[0] for line in ip("netns", "list").splitlines() if line.strip()]
    return [name for name in names if name.startswith(prefix)]


def pids_in(name: str) -> list[int]:
    """Processes in a namespace."""
    return [int(word) for word in ip("netns", "pids", name).split()]


def kill_all(name: str, spared: frozenset[int] = frozenset()) -> int:
    """SIGKILL everything in a namespace until nothing is left; how many there were at first."""
    first, end = {*pids_in(name)} - spared, time.monotonic() + GONE_SECONDS
    while left := {*pids_in(name)} - spared:
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > end:
            raise RuntimeError(f"{name}: processes {left} do not end")
        time.sleep(0.02)
    return len(first)


def destroy(prefix: str) -> None:
    """End everything in the namespaces of a prefix, and remove them."""
    for name in names_of(prefix):
        kill_all(name)
        ip("netns", "delete", name)


@dataclass(frozen=True)
class Host:
    """One machine.

    Attributes
    ----------
    name : str
        Of its namespace.
    address : str
    started : list of Popen
        Every program that was started here.
    """

    name: str
    address: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list, compare=False)

    def start(
        self, argv: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a program here; what it prints goes to a log."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            program = subprocess.Popen(
                self._here(argv),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(program)
        return program

    def run(
        self, argv: Sequence[str], environment: Mapping[str, str], seconds: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program here to its end."""
        return subprocess.run(
            self._here(argv),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def pids(self) -> list[int]:
        """Processes that run here."""
        return pids_in(self.name)

    def cut_power(self, spared: frozenset[int] = frozenset()) -> int:
        """End everything here by SIGKILL but what is spared; how many processes there were."""
        return kill_all(self.name, spared)

    def unplug(self) -> None:
        """Take the site's wire down."""
        ip("-n", self.name, "link", "set", "eth0", "down")

    def plug(self) -> None:
        """Bring the site's wire up, with its route."""
        ip("-n", self.name, "link", "set", "eth0", "up")
        ip("-n", self.name, "route", "replace", f"{COORDINATOR}/32", "dev", "eth0")

    def _here(self, argv: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.name, *argv]


@dataclass(frozen=True)
class Network:
    """A coordinator and its sites.

    Attributes
    ----------
    prefix : str
        Of the namespaces' names.
    coordinator : Host
    sites : list of Host
    """

    prefix: str
    coordinator: Host
    sites: list[Host] = field(default_factory=list)

    def add_site(self, number: int) -> Host:
        """Wire one more site to the coordinator, and close everything but the one port."""
        host = Host(f"{self.prefix}site{number}", f"10.77.1.{number}")
        far, here = self.coordinator.name, host.name
        _add_namespace(here)
        wire = f"site{number}"
        ip("-n", far, "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", here)
        ip("-n", here, "address", "add", f"{host.address}/32", "dev", "eth0")
        ip("-n", far, "link", "set", wire, "up")
        ip("-n", far, "route", "add", f"{host.address}/32", "dev", wire, "src", COORDINATOR)
        host.plug()
        door = ("to", COORDINATOR, "ipproto", "tcp", "dport", str(PORT))
        ip("-n", here, "rule", "add", "preference", "100", *door, "lookup", "main")
        ip("-n", here, "rule", "add", "preference", "200", "prohibit")
        ip("-n", here, "rule", "delete", "preference", "32766")
        self.sites.append(host)
        return host


@contextmanager
def make_network(prefix: str) -> Iterator[Network]:
    """A coordinator alone on its network; at the end, however it comes, nothing is left."""
    keeper = subprocess.Popen(
        [sys.executable, __file__, prefix],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    network = Network(prefix, Host(f"{prefix}coordinator", COORDINATOR))
    try:
        _add_namespace(network.coordinator.name)
        ip("-n", network.coordinator.name, "address", "add", f"{COORDINATOR}/32", "dev", "lo")
        yield network
    finally:
        keeper.communicate(timeout=120)
        for host in (network.coordinator, *network.sites):
            for program in host.started:
                program.wait(GONE_SECONDS)


def _add_namespace(name: str) -> None:
    ip("netns", "add", name)
    setting = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
    write = f"if [ -e {setting} ]; then echo 1 > {setting}; fi"
    ip("netns", "exec", name, "sh", "-c", write)
    ip("-n", name, "link", "set", "lo", "up")


def main() -> None:
    """Keep the hosts of a prefix until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    destroy(sys.argv[1])


if __name__ == "__main__":
    main()
