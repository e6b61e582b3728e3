"""Several servers behind one name: all are asked, counts are added, each may come and go."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from fedrisk.errors import ServiceAwayError
from fedrisk.retraining.http_server import HttpServer
from fedrisk.retraining.plan import ChangePlan
from fedrisk.retraining.ports import Service
from fedrisk.retraining.replicas import Replicas, addresses, open_server
from fedrisk.retraining.steps.watching import counters, figures_fault, since
from fedrisk.serving.trial_figures import TrialFigures
from fedrisk.serving.trial_metrics import PAIR, TrialMetrics
from tests.retraining.test_http_server import EXPOSITION

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


class One:
    """A server as the loop reads it."""

    def __init__(self) -> None:
        self.version: str | None = "1"
        self.metrics = EXPOSITION
        self.trial: Any = None

    def answer(self, path: str) -> tuple[int, bytes]:
        if path == "/ready":
            model = None if self.version is None else {"version": self.version}
            refused = None if self.version else {"reason": "no model"}
            return 200, json.dumps({"model": model, "refused": refused}).encode()
        if path == "/trial":
            found = None if self.trial is None else json.dumps(self.trial).encode()
            return (404, b"{}") if found is None else (200, found)
        return 200, self.metrics.encode()


class Cluster:
    """Servers on one port of several addresses, and the name that they are known by."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.servers = {host: One() for host in HOSTS}
        self.named = list(HOSTS[:2])
        self.slept = 0.0

    def service(self) -> Replicas:
        return Replicas(f"http://servers:{self.port}", "key", lambda *_: self.named, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with socket.socket() as free:
        free.bind(("127.0.0.2", 0))
        made = Cluster(free.getsockname()[1])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = made.servers[self.server.server_address[0]].answer(self.path)
            assert self.headers["Authorization"] == "Bearer key"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ExitStack() as stack:
        for host in HOSTS:
            server = stack.enter_context(ThreadingHTTPServer((host, made.port), Handler))
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
        yield made


def test_counts_are_added_up(cluster: Cluster) -> None:
    found = cluster.service().look()
    assert (found.version, found.refused) == ("1", "")
    assert (found.requests, found.errors) == (22.0, 6.0)
    assert found.latency == {0.1: 18.0, inf: 22.0}
    assert set(found.replicas) == set(HOSTS[:2])


def test_a_model_serves_when_every_server_serves_it(cluster: Cluster) -> None:
    cluster.servers[HOSTS[1]].version = "2"
    assert cluster.service().look().version == f"1 at {HOSTS[0]}, 2 at {HOSTS[1]}"
    cluster.servers[HOSTS[1]].version = None
    found = cluster.service().look()
    assert found.version == f"1 at {HOSTS[0]}, none at {HOSTS[1]}"
    assert found.refused == f"no model (at {HOSTS[1]})"


def test_one_that_ends_is_asked_until_nobody_names_it(cluster: Cluster) -> None:
    cluster.named = [HOSTS[0], "127.0.0.9"]

    def sleep(seconds: float) -> None:
        cluster.named = [HOSTS[0]]

    service = Replicas(f"http://s:{cluster.port}", "key", lambda *_: cluster.named, sleep)
    assert service.look().requests == 11.0


def test_one_that_is_named_and_silent_is_a_service_that_is_away(cluster: Cluster) -> None:
    cluster.named.append("127.0.0.9")
    with pytest.raises(ServiceAwayError, match=r"127\.0\.0\.9"):
        cluster.service().look()
    assert cluster.slept > 0


def test_a_name_that_nobody_knows_is_away(cluster: Cluster) -> None:
    def unknown(*_: object) -> list[str]:
        raise socket.gaierror("no such name")

    with pytest.raises(ServiceAwayError, match="nobody knows servers"):
        Replicas("http://servers:1", resolve=unknown).look()
    with pytest.raises(ServiceAwayError, match="no server"):
        Replicas("http://servers:1", resolve=lambda *_: []).look()


def test_only_names_are_resolved() -> None:
    for url in ("http://127.0.0.1:80", "http://[::1]:80", "https://risk.example.org"):
        assert isinstance(open_server(url), HttpServer)
    assert isinstance(open_server("http://servers:80"), Replicas)
    # Of a machine with addresses of both kinds one counts.
    assert len({address.count(":") > 0 for address in addresses("localhost", 80)}) == 1
    assert isinstance(Replicas("http://s:1")._server("fd00::7"), HttpServer)
    assert Replicas("http://s:1")._server("fd00::7").url == "http://[fd00::7]:1"


def service(**replicas: tuple[float, float, float]) -> Service:
    """Servers with requests, errors, and requests that took longer than a tenth of a second."""
    made = {
        name: Service("2", requests=n, errors=errors, latency={0.1: n - slow, inf: n})
        for name, (n, errors, slow) in replicas.items()
    }
    latency = {le: sum(each.latency[le] for each in made.values()) for le in (0.1, inf)}
    totals = [sum(each[i] for each in replicas.values()) for i in (0, 1)]
    return Service("2", "", totals[0], totals[1], latency, made)


def test_what_came_since_is_told_server_by_server() -> None:
    before = json.loads(json.dumps(counters(service(a=(1000, 50, 10), b=(500, 0, 0), c=(9, 0, 0)))))
    # a was started again, b went on, c is gone, d is new.
    now = service(a=(30, 0, 0), b=(600, 2, 40), d=(70, 0, 0))
    requests, errors, latency = since(before, now)
    assert (requests, errors) == (30 + 100 + 70, 2)
    assert latency == {0.1: 30 + 60 + 70, inf: 200}
    assert since(None, now)[0] == 700
    # One server where there were several, and the other way round, count as one did.
    one = counters(Service("2", requests=10.0, latency={inf: 10.0}))
    assert since(one, now)[0] == 690


def test_a_fault_before_the_promotion_is_not_the_new_champions() -> None:
    plan = ChangePlan()
    least = plan.service.least_requests
    before = counters(service(a=(10 * least, 5 * least, 0)))
    assert figures_fault(service(a=(12 * least, 5 * least, 0)), before, plan) == ""
    assert "fault" in figures_fault(service(a=(12 * least, 6 * least, 0)), before, plan)


def trial_of(rows: int, seconds: float, difference: float) -> tuple[dict[str, Any], str]:
    """A server's report and figures, where the challenger answered so many requests."""
    registry = CollectorRegistry()
    metrics = TrialMetrics(registry)
    metrics._since.labels("2", "1").set(1000.0 + rows)
    side = metrics.challenger.side("2", "1", "canary")
    for _ in range(rows):
        side.answered(1, seconds)
        metrics.difference.labels(**dict(zip(PAIR, ("2", "1"), strict=True))).observe(difference)
    side.flush()
    metrics.champion.side("1", "2").errors.inc(3)
    report = TrialFigures(registry.collect(), "1", "2").report("m", 0.1, shadow=True)
    return report.document(), generate_latest(registry).decode()


def test_trials_are_added_up_exactly(cluster: Cluster) -> None:
    for host, made in zip(HOSTS, (trial_of(30, 0.001, 0.02), trial_of(10, 0.3, 0.2)), strict=False):
        cluster.servers[host].trial, cluster.servers[host].metrics = made
    found = cluster.service().trial()
    assert found is not None
    assert (found.challenger.version, found.challenger.requests) == ("2", 40)
    assert found.champion.errors == 6
    assert found.compared.mean == pytest.approx((30 * 0.02 + 10 * 0.2) / 40)
    assert found.challenger.seconds is not None
    assert found.challenger.seconds.mean == pytest.approx((30 * 0.001 + 10 * 0.3) / 40)
    assert found.challenger.seconds.p90 > 0.1
    assert found.since.timestamp() == 1010.0


def test_servers_that_do_not_try_it_yet_add_nothing(cluster: Cluster) -> None:
    assert cluster.service().trial() is None
    first = cluster.servers[HOSTS[0]]
    first.trial, first.metrics = trial_of(5, 0.001, 0.0)
    found = cluster.service().trial()
    assert found is not None
    assert found.challenger.requests == 5
