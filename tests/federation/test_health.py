"""Probes are answered by real HTTP; events are JSON lines."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedrisk.errors import FederationError, PortInUseError
from fedrisk.federation import health
from fedrisk.federation.health import serve_health


class Report:
    ready = False
    error: Exception | None = None

    def __call__(self) -> tuple[bool, dict[str, Any]]:
        if self.error:
            raise self.error
        return self.ready, {"services": {"supernode": {"state": "starting"}}, "path": Path("/x")}


@pytest.fixture
def report() -> Report:
    return Report()


@pytest.fixture
def address(report: Report) -> Iterator[str]:
    with serve_health(0, report) as port:
        yield f"http://127.0.0.1:{port}"


def test_readiness_flips_and_tells_why(address: str, report: Report) -> None:
    answer = httpx.get(address + "/ready")
    assert answer.status_code == 503
    assert answer.json()["services"] == {"supernode": {"state": "starting"}}
    assert answer.headers["content-type"] == "application/json"
    report.ready = True
    assert (httpx.get(address + "/ready").status_code, True) == (200, True)
    assert httpx.get(address + "/ready").json()["ready"] is True
    report.ready = False
    assert httpx.get(address + "/ready").status_code == 503


def test_it_lives_though_it_is_not_ready(address: str, report: Report) -> None:
    report.error = FederationError("no certificate")
    assert (httpx.get(address + "/health").status_code, httpx.get(address + "/health").json()) == (
        200,
        {"alive": True},
    )


@pytest.mark.parametrize("error", [FederationError("no certificate"), OSError("disk away")])
def test_a_report_that_fails_is_not_ready_and_says_why(
    address: str, report: Report, error: Exception
) -> None:
    report.ready, report.error = True, error
    answer = httpx.get(address + "/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "fault": str(error)})


@pytest.mark.parametrize("path", ["/", "/healthz", "/ready/", "/ready?x=1", "/logs"])
def test_there_is_nothing_else(address: str, path: str) -> None:
    answer = httpx.get(address + path)
    assert (answer.status_code, answer.json()) == (404, {})


def test_nothing_can_be_written(address: str) -> None:
    assert httpx.post(address + "/ready", content=b"x").status_code == 501


def test_a_taken_port_is_told(address: str, report: Report) -> None:
    port = int(address.rpartition(":")[2])
    with pytest.raises(PortInUseError, match=f"health port {port}"), serve_health(port, report):
        pass
    assert httpx.get(address + "/health").status_code == 200


def test_the_port_is_free_again_and_no_thread_is_left(report: Report) -> None:
    before = threading.active_count()
    with serve_health(0, report) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    with serve_health(port, report) as again:
        assert again == port
    assert threading.active_count() <= before + 1, "one may just be ending"


def test_it_listens_on_this_machine_alone(address: str) -> None:
    with socket.socket() as other:
        # Another loopback address stands for every other interface.
        assert other.connect_ex(("127.0.0.2", int(address.rpartition(":")[2]))) != 0


def test_beyond_loopback_callers_are_told_whether_and_not_why(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_health(0, report, "0.0.0.0") as port:
        near = httpx.get(f"http://127.0.0.2:{port}/ready")
        assert "services" in near.json()
        monkeypatch.setattr(health, "_is_near", lambda _: False)
        for error in (None, FederationError("no certificate")):
            report.error = error
            far = httpx.get(f"http://127.0.0.2:{port}/ready")
            assert (far.status_code, far.json()) == (503, {"ready": False})
        assert httpx.get(f"http://127.0.0.2:{port}/health").json() == {"alive": True}
    assert [health._is_near(each) for each in ("127.0.0.1", "::1")] == [False, False]
    monkeypatch.undo()
    found = [health._is_near(each) for each in ("127.9.9.9", "::1", "10.0.0.7", "fe80::1%eth0")]
    assert found == [True, True, False, False]


def test_who_asks_nothing_is_not_waited_for(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.1)
    with (
        serve_health(0, report) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as silent,
    ):
        assert silent.recv(1) == b""


def test_a_probe_that_went_away_says_nothing(
    address: str, report: Report, capfd: pytest.CaptureFixture[str]
) -> None:
    port = int(address.rpartition(":")[2])
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            gone.sendall(b"GET /ready HTTP/1.1\r\n\r\n")
    assert httpx.get(address + "/health").status_code == 200
    assert capfd.readouterr().err == ""
