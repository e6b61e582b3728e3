"""What a real server of ours tells, and what others say, as the loop takes it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from math import inf

import pytest

from fedrisk.errors import ServiceAwayError, UsageError
from fedrisk.retraining.http_server import HttpServer, counted

EXPOSITION = """\
# TYPE prediction_latency_seconds histogram
prediction_latency_seconds_bucket{endpoint="/predict",le="0.1"} 8.0
prediction_latency_seconds_bucket{endpoint="/predict",le="+Inf"} 10.0
prediction_latency_seconds_bucket{endpoint="/predict/batch",le="0.1"} 1.0
prediction_latency_seconds_bucket{endpoint="/predict/batch",le="+Inf"} 1.0
# TYPE prediction_errors counter
prediction_errors_total{endpoint="/predict",status="500"} 3.0
prediction_errors_total{endpoint="/predict",status="503"} 5.0
prediction_errors_total{endpoint="/predict",status="422"} 7.0
"""


@pytest.fixture
def server():
    """A server that answers as the test says: by path, status and body."""
    answers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answers.get(self.path, (404, b"{}"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield HttpServer(f"http://127.0.0.1:{found.server_port}"), answers
        found.shutdown()
        thread.join()


def test_endpoints_are_added_up_and_only_faults_of_the_server_count():
    assert counted(EXPOSITION) == (11.0, 3.0, {0.1: 9.0, inf: 11.0})


def test_what_serves_and_what_is_refused(server):
    looked, answers = server
    answers["/metrics"] = (200, EXPOSITION.encode())
    model = {"model": {"version": "7"}, "refused": None}
    answers["/ready"] = (200, json.dumps(model).encode())
    found = looked.look()
    assert (found.version, found.refused, found.requests) == ("7", "", 11.0)
    answers["/ready"] = (503, b'{"refused": {"reason": "its self-test fails"}}')
    found = looked.look()
    assert (found.version, found.refused) == (None, "its self-test fails")


def test_no_trial_is_no_fault(server):
    looked, answers = server
    for status in (404, 409):
        answers["/trial"] = (status, b"{}")
        assert looked.trial() is None


@pytest.mark.parametrize("answer", [(200, b"<html>"), (200, b"[]"), (302, b""), (401, b"{}")])
def test_what_is_no_such_server_is_away(server, answer):
    looked, answers = server
    answers["/ready"] = answers["/trial"] = answer
    with pytest.raises(ServiceAwayError):
        looked.look()
    with pytest.raises(ServiceAwayError):
        looked.trial()


def test_nobody_there_is_away():
    with pytest.raises(ServiceAwayError, match="does not answer"):
        HttpServer("http://127.0.0.1:9").look()


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "file:///etc/passwd", "http://"])
def test_an_address_is_one_of_a_server(url):
    with pytest.raises(UsageError):
        HttpServer(url)
