"""Traces arrive at a collector, name no value, and a collector that is away disturbs nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fedrisk.errors import UsageError
from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.app import create_app
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.tracing import traced, traces_url

from .conftest import ROW, TestClient

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTINUED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP, or fails at it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Take)
        self.received: list[ExportTraceServiceRequest] = []
        self.paths: set[str] = set()
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class Take(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.add(self.path)
        self.server.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = Thread(target=collector.serve_forever, args=(0.05,))
    thread.start()
    yield collector
    collector.shutdown()
    thread.join()
    collector.server_close()


def told(span: Any) -> dict[str, Any]:
    return {each.key: each.value.int_value or each.value.string_value for each in span.attributes}


def test_a_collector_gets_a_span_for_each_request(
    home: Home, stored: StoredModel, collector: Collector
) -> None:
    app = traced(create_app(home), collector.url, 1.0, "replica:1")
    with TestClient(app) as client:
        named = CONTINUED | {"X-Request-ID": "one"}
        client.post("/predict?explain=true", json=ROW, headers=named)
        client.post("/predict/batch", json=[ROW, ROW])
        client.post("/predict", json=ROW | {"age": 7177.5})
        client.get("/ready")
    assert collector.paths == {"/v1/traces"}
    first, batch, wrong, ready = sorted(collector.spans, key=lambda span: span.start_time_unix_nano)
    assert (first.name, first.kind) == ("POST /predict", 2)
    assert first.trace_id.hex() == TRACE
    assert first.parent_span_id.hex() == PARENT
    assert first.end_time_unix_nano > first.start_time_unix_nano
    assert told(first) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "fedrisk.request_id": "one",
        "fedrisk.model.name": "clinic",
        "fedrisk.model.version": "1",
        "fedrisk.rows": 1,
    }
    assert batch.parent_span_id == b""
    assert told(batch)["fedrisk.rows"] == 2
    assert told(wrong)["http.response.status_code"] == 422
    assert "fedrisk.rows" not in told(wrong)
    assert told(ready)["http.route"] == "/ready"
    text = "".join(str(request) for request in collector.received)
    assert '"replica:1"' in text
    assert not any(value in text for value in ("71.5", "7177", "c d", "explain"))


def test_a_share_is_of_the_traces_that_begin_here(
    home: Home, stored: StoredModel, collector: Collector
) -> None:
    with TestClient(traced(create_app(home), collector.url, 0.0, "r")) as client:
        client.post("/predict", json=ROW)
        client.post("/predict", json=ROW, headers=CONTINUED)
        client.post("/predict", json=ROW, headers={"traceparent": "nonsense"})
    assert [span.trace_id.hex() for span in collector.spans] == [TRACE]


def test_a_fault_of_ours_is_marked_without_its_text(collector: Collector) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise ValueError("secret 71.5")
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})

    with (
        TestClient(traced(broken, collector.url, 1.0, "r")) as client,
        pytest.raises(ValueError, match="secret"),
    ):
        client.post("/predict")
    (span,) = collector.spans
    assert span.status.code == 2
    assert "secret" not in str(span)


@pytest.mark.parametrize("away", [True, False])
def test_a_collector_that_fails_disturbs_no_request(
    home: Home, stored: StoredModel, collector: Collector, away: bool
) -> None:
    collector.status = 503
    url = "http://127.0.0.1:9" if away else collector.url
    app = create_app(home, lifecycle=Lifecycle(most_lag=60))
    with TestClient(traced(app, url, 1.0, "r")) as client:
        assert {client.post("/predict", json=ROW).status_code for _ in range(50)} == {200}


def test_what_is_no_address_is_refused() -> None:
    for wrong in ("collector:4318", "ftp://host", "http://"):
        with pytest.raises(UsageError, match="FEDRISK_OTLP_ENDPOINT"):
            traces_url(wrong)


def test_nothing_of_it_is_imported_where_it_is_off() -> None:
    program = (
        "import sys, fedrisk.serving.assembly\n"
        "assert not {'opentelemetry', 'requests'} & {name.split('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
