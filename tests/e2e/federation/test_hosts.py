"""Namespaces stand for machines, and go whatever happens to whoever made them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.federation.hosts import COORDINATOR, PORT, Network, destroy, names_of
from running import hear_interrupts, processes_of, wait_until

pytestmark = [pytest.mark.federation, pytest.mark.hosts]

TESTS = Path(__file__).parents[2]
#: Connects, or says why not.
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
except OSError as error:
    sys.exit(type(error).__name__)
"""
LISTEN = """
import socket, sys, time
for port in map(int, sys.argv[2:]):
    held = socket.create_server((sys.argv[1], port))
    globals()[f"held_{port}"] = held
print("listening", flush=True)
time.sleep(600)
"""
OWNER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from e2e.federation.hosts import make_network
with make_network(sys.argv[2]) as network:
    site = network.add_site(1)
    sleep = [sys.executable, "-c", "import time; time.sleep(600)", sys.argv[2]]
    site.start(sleep, {}, Path(sys.argv[3]))
    print("made", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def own(tmp_path: Path, network: Network):
    """A network for one test."""
    from e2e.federation.hosts import make_network

    with make_network(f"fr{os.getpid()}x") as made:
        yield made


def test_a_site_reaches_one_port_of_the_coordinator_and_nothing_else(own, tmp_path):
    one, other = own.add_site(1), own.add_site(2)
    log = tmp_path / "listen.log"
    own.coordinator.start([sys.executable, "-c", LISTEN, COORDINATOR, "9092", "9093"], {}, log)
    other.start([sys.executable, "-c", LISTEN, other.address, "9092"], {}, log)
    assert wait_until(lambda: log.exists() and log.read_text().count("listening") == 2, 20)

    def connect(host, address, port):
        done = host.run([sys.executable, "-c", CONNECT, address, str(port)], {}, 20)
        return done.stderr.strip()

    assert connect(one, COORDINATOR, PORT) == ""
    assert connect(one, COORDINATOR, PORT + 1) == "PermissionError"
    assert connect(one, other.address, PORT) == "PermissionError"
    assert connect(own.coordinator, other.address, PORT) != ""  # nothing that calls in is answered
    one.unplug()
    assert connect(one, COORDINATOR, PORT) != ""
    one.plug()
    assert connect(one, COORDINATOR, PORT) == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whoever_made_hosts_leaves_none(tmp_path, network, number):
    prefix = f"fr{os.getpid()}y"
    command = [sys.executable, "-c", OWNER, str(TESTS), prefix, str(tmp_path / "log")]
    options = {"stdout": subprocess.PIPE, "text": True, "preexec_fn": hear_interrupts}
    with subprocess.Popen(command, **options) as owner:
        try:
            assert owner.stdout.readline() == "made\n"
            assert len(names_of(prefix)) == 2
            assert len(processes_of(prefix)) >= 2
            owner.send_signal(number)
            owner.wait(30)
            assert wait_until(lambda: not names_of(prefix), 30), names_of(prefix)
            assert wait_until(lambda: not processes_of(prefix), 10), processes_of(prefix)
        finally:
            owner.kill()
            destroy(prefix)
