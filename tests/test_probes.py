"""Probes are answered by real HTTP; events are JSON lines."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.registry import Collector

from fedrisk import probes
from fedrisk.errors import FederationError, PortInUseError, UsageError
from fedrisk.probes import Place, serve_probes


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
    with serve_probes(Place(), report) as port:
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
    with (
        pytest.raises(PortInUseError, match=f"health port {port}"),
        serve_probes(Place(port=port), report),
    ):
        pass
    assert httpx.get(address + "/health").status_code == 200


def test_the_port_is_free_again_and_no_thread_is_left(report: Report) -> None:
    before = threading.active_count()
    with serve_probes(Place(), report) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    with serve_probes(Place(port=port), report) as again:
        assert again == port
    assert threading.active_count() <= before + 1, "one may just be ending"


def test_it_listens_on_this_machine_alone(address: str) -> None:
    with socket.socket() as other:
        # Another loopback address stands for every other interface.
        assert other.connect_ex(("127.0.0.2", int(address.rpartition(":")[2]))) != 0


def test_beyond_loopback_callers_are_told_whether_and_not_why(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_probes(Place("0.0.0.0"), report) as port:
        near = httpx.get(f"http://127.0.0.2:{port}/ready")
        assert "services" in near.json()
        monkeypatch.setattr(probes, "is_near", lambda _: False)
        for error in (None, FederationError("no certificate")):
            report.error = error
            far = httpx.get(f"http://127.0.0.2:{port}/ready")
            assert (far.status_code, far.json()) == (503, {"ready": False})
        assert httpx.get(f"http://127.0.0.2:{port}/health").json() == {"alive": True}
    assert [probes.is_near(each) for each in ("127.0.0.1", "::1")] == [False, False]
    monkeypatch.undo()
    found = [probes.is_near(each) for each in ("127.9.9.9", "::1", "10.0.0.7", "fe80::1%eth0")]
    assert found == [True, True, False, False]


def test_who_asks_nothing_is_not_waited_for(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.1)
    with (
        serve_probes(Place(), report) as port,
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


def figures_of(value: float = 1.0) -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("thing", "A thing.", registry=registry).set(value)
    return registry


def test_figures_are_told_on_loopback() -> None:
    with serve_probes(Place(), figures=figures_of(3)) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert (answer.status_code, "thing 3.0" in answer.text) == (200, True)
        assert httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 404


def test_figures_beyond_loopback_need_a_token_and_probes_do_not(report: Report) -> None:
    report.ready = True
    with serve_probes(Place("0.0.0.0"), report, figures_of()) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 403
        assert httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_token_is_asked_for_and_may_change(host: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    with serve_probes(Place(host, token_file=file), figures=figures_of()) as port:

        def status(*given: str) -> int:
            headers = {"Authorization": given[0]} if given else {}
            return httpx.get(f"http://127.0.0.1:{port}/metrics", headers=headers).status_code

        assert [status(), status("Bearer two"), status("one"), status("Bearer")] == [401] * 4
        assert status("Bearer one") == 200
        file.write_text("two\n")
        assert [status("Bearer one"), status("Bearer two")] == [401, 200]
        file.unlink()
        assert [status("Bearer two"), status("Bearer")] == [401, 401]


@pytest.mark.parametrize("content", ["", " \n", None])
def test_a_token_that_is_none_is_told_at_the_start(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match="no token"), serve_probes(Place(token_file=file)):
        pass


def test_a_host_that_is_no_address_is_told() -> None:
    with pytest.raises(UsageError, match="no address"), serve_probes(Place("nowhere")):
        pass


def test_it_answers_by_ipv6() -> None:
    with serve_probes(Place("::1"), figures=figures_of()) as port:
        assert httpx.get(f"http://[::1]:{port}/metrics").status_code == 200


def test_figures_that_cannot_be_collected_say_so_and_no_more() -> None:
    class Broken(Collector):
        def collect(self) -> Iterator[Any]:
            raise OSError("secret path")

    registry = CollectorRegistry()
    registry.register(Broken())
    with serve_probes(Place(), figures=registry) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
    assert (answer.status_code, answer.json()) == (500, {"error": "OSError"})
