"""Flower's own command: what it tells, and that none outlives its owner."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from flwr.supercore.error import ApiErrorCode
from flwr.supercore.error.catalog import API_ERROR_MAP

from fedrisk.errors import FederationError
from fedrisk.federation.engines import flower
from fedrisk.federation.engines.flower import Control

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

#: An owner of a command, in a thread as the coordinator's.
OWNER = """
import os, sys, threading
from pathlib import Path
from fedrisk.federation.engines.flower import Control
control = Control(os.environ, Path(sys.argv[1]))
threading.Thread(target=control.nodes).start()
"""


def command(folder: Path, body: str) -> Mapping[str, str]:
    """An environment in which `flwr` does this."""
    script = folder / "flwr"
    script.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    script.chmod(0o700)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


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
        time.sleep(0.02)
    return False


def test_nodes_are_told_by_id(tmp_path: Path) -> None:
    told = '{"success": true, "nodes": [{"node-id": 7, "status": "online"}]}'
    control = Control(command(tmp_path, f"echo 'a note {told}'"), tmp_path / "log")
    assert control.nodes() == {"7": {"node-id": 7, "status": "online"}}
    assert "a note" in (tmp_path / "log").read_text()


def test_a_failure_is_told_with_its_reason(tmp_path: Path) -> None:
    control = Control(command(tmp_path, "echo 'no connection' >&2; exit 1"), tmp_path / "log")
    with pytest.raises(FederationError, match="flwr supernode list failed: no connection"):
        control.nodes()


def test_a_run_that_ended_meanwhile_is_as_good_as_stopped(tmp_path: Path) -> None:
    assert API_ERROR_MAP[ApiErrorCode.RUN_ALREADY_FINISHED].public_message == flower.ENDED
    told = f"[code: 18] {flower.ENDED}"
    Control(command(tmp_path, f"echo '{told}' >&2; exit 1"), tmp_path / "log").stop("1")
    failing = Control(command(tmp_path, "echo 'Run ID not found.' >&2; exit 1"), tmp_path / "log")
    with pytest.raises(FederationError, match=r"flwr stop failed: Run ID not found\."):
        failing.stop("1")


def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower, "COMMAND_SECONDS", 0.2)
    control = Control(command(tmp_path, "exec sleep 600"), tmp_path / "log")
    with pytest.raises(FederationError, match=r"no answer within 0\.2 s"):
        control.nodes()


def test_a_command_does_not_hear_ctrl_c_of_its_owner(tmp_path: Path) -> None:
    """The terminal sends it to the owner's group; a submission must not end half-way by it."""
    told = 'read -r pid name state parent group rest < /proc/$$/stat; echo "{\\"success\\": true,'
    told += ' \\"nodes\\": [{\\"node-id\\": $group}]}"'
    control = Control(command(tmp_path, told), tmp_path / "log")
    (group,) = control.nodes()
    assert int(group) != os.getpgrp()


def test_no_command_outlives_an_owner_that_was_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    environment = command(tmp_path, f"echo $$ > {note}.new; mv {note}.new {note}; exec sleep 600")
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "log")], env=dict(environment)
    )
    try:
        assert wait_until(note.exists)
    finally:
        owner.kill()
        owner.wait(20)
    process = int(note.read_text())
    assert wait_until(lambda: not alive(process), 10.0)


def test_superlink_is_reachable_once_it_listens_where_the_configuration_says(
    tmp_path: Path,
) -> None:
    control = Control({"FLWR_HOME": str(tmp_path)}, tmp_path / "flwr.log")
    assert not control.reachable()
    with closing(socket.socket()) as superlink:
        superlink.bind(("127.0.0.1", 0))
        port = superlink.getsockname()[1]
        flower.write_connection(tmp_path, port, tmp_path / "ca.crt")
        assert not control.reachable()
        superlink.listen()
        assert control.reachable()
