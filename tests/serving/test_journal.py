"""The audit journal: a line for each request, and no request hurt by a journal that is."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.access import Guard
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.access.rates import Rates
from fedrisk.serving.app import create_app
from fedrisk.serving.journal import Journal
from fedrisk.serving.journal_target import FileTarget, OutputTarget
from fedrisk.serving.lifecycle import Lifecycle

from .conftest import ROW, TestClient, until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
#: Turns nobody away on a busy machine.
PATIENT = Lifecycle(most_lag=60)


class Memory:
    """Keeps lines, or says that the disk is full."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.full = False

    def write(self, lines: Sequence[bytes]) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines += lines
        return len(lines)

    def close(self) -> None:
        pass

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def journal(target: Any, **options: Any) -> Journal:
    return Journal(target, NOON.timestamp, **options)


def scope(identifier: str = "r") -> dict[str, Any]:
    return {"request_id": identifier, "path": "/predict", "method": "POST"}


def lost(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("audit_lines_lost_total")


def test_every_prediction_request_has_a_line_without_its_values(
    home: Home, stored: StoredModel, tmp_path: Path
) -> None:
    path = tmp_path / "audit"
    tensors = [
        {"name": name, "datatype": "BYTES" if isinstance(value, str) else "FP64"}
        | {"shape": [1], "data": [value]}
        for name, value in ROW.items()
    ]
    with TestClient(create_app(home, journal=journal(FileTarget(path)))) as client:
        client.post("/predict", json=ROW, headers={"X-Request-ID": "one"})
        client.post("/predict/batch", json=[ROW, ROW, ROW])
        client.post("/v2/models/clinic/infer", json={"inputs": tensors})
        client.post("/predict", json=ROW | {"age": 7177.5})
        client.post("/predict", content=b"age", headers={"Content-Type": "text/plain"})
        client.post("/fhir/RiskAssessment", json={"resourceType": "Patient"})
        client.post("/cds-services/clinic", json={"hook": "x"})
        client.post("/cds-services/other", json={})
        for other in ("/model", "/ready", "/predict", "/nothing"):
            client.get(other)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {
        "time": "2026-03-01T12:00:00Z",
        "request_id": "one",
        "key_id": None,
        "endpoint": "/predict",
        "model": "clinic",
        "version": "1",
        "rows": 1,
        "status": 200,
    }
    assert [(line["endpoint"], line["rows"], line["status"]) for line in lines] == [
        ("/predict", 1, 200),
        ("/predict/batch", 3, 200),
        ("/v2/infer", 1, 200),
        ("/predict", 0, 422),
        ("/predict", 0, 415),
        ("/fhir/RiskAssessment", 0, 400),
        ("/cds-services", 0, 400),
        ("/cds-services", 0, 404),
    ]
    assert not any(value in path.read_text() for value in ("71.5", "7177.5", "male", "c d"))


def test_refused_callers_have_lines_and_known_ones_are_named(
    home: Home, stored: StoredModel
) -> None:
    key, secret = make_key("ward", ["predict"], NOON, per_second=1e-6, burst=1)
    write_keys(home.keys, KeyRing({key.id: key}))
    memory = Memory()
    with Rates(home.serving / "rates", lambda: 0.0) as rates:
        guard = Guard(home.keys, rates, lambda: NOON)
        with TestClient(create_app(home, guard=guard, journal=journal(memory))) as client:
            bearer = {"Authorization": f"Bearer {secret}"}
            client.post("/predict", json=ROW, headers=bearer)
            client.post("/predict", json=ROW, headers=bearer)
            client.post("/predict/batch", json=[ROW], headers=bearer)
            client.post("/predict", json=ROW)
            client.post("/v2/models/clinic/infer", json={})
    found = [(line["status"], line["rows"]) for line in memory.documents()]
    assert found == [(200, 1), (429, 0), (403, 0), (401, 0), (401, 0)]
    assert [line["key_id"] for line in memory.documents()] == [key.id] * 3 + [None] * 2
    assert secret.encode() not in b"".join(memory.lines)


def test_a_full_disk_costs_no_answer_and_what_finds_no_room_is_counted(
    home: Home, stored: StoredModel, caplog: pytest.LogCaptureFixture
) -> None:
    memory, registry = Memory(), CollectorRegistry()
    memory.full = True
    with TestClient(
        create_app(home, registry, lifecycle=PATIENT, journal=journal(memory, most=3))
    ) as client:
        statuses = {client.post("/predict", json=ROW).status_code for _ in range(200)}
        assert statuses == {200}
        until(lambda: "No space left" in caplog.text)
        memory.full = False
        until(lambda: "audit journal were lost" in caplog.text)
    assert lost(registry) == 200 - len(memory.lines) > 0


def test_a_pipe_that_nobody_reads_costs_no_answer(home: Home, stored: StoredModel) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, b"\n" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    registry = CollectorRegistry()
    kept = journal(OutputTarget(writing), most=5)
    with TestClient(create_app(home, registry, lifecycle=PATIENT, journal=kept)) as client:
        statuses = {client.post("/predict", json=ROW).status_code for _ in range(200)}
        assert statuses == {200}
        assert lost(registry) >= 200 - 100 - 5
        text = b""
        while text.count(b'"status":200') + lost(registry) < 200:
            text += os.read(reading, 65536)
    os.close(reading)
    os.close(writing)


def test_what_cannot_be_written_at_the_end_is_lost_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory, registry = Memory(), CollectorRegistry()
    kept = journal(memory)
    kept.count_in(registry)
    kept.start()
    memory.full = True
    for _ in range(7):
        kept.add(scope(), 200)
    kept.stop()
    assert lost(registry) == 7
    assert "7 lines of the audit journal were lost" in caplog.text


def test_the_end_writes_what_waits() -> None:
    memory = Memory()
    kept = journal(memory)
    for number in range(1234):
        kept.add(scope(str(number)), 200)
    kept.start()
    kept.stop()
    assert [line["request_id"] for line in memory.documents()] == [str(n) for n in range(1234)]


def test_a_strict_journal_answers_only_what_it_has_written(
    home: Home, stored: StoredModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    memory, registry = Memory(), CollectorRegistry()
    app = create_app(home, registry, lifecycle=PATIENT, journal=journal(memory, strict=True))
    with TestClient(app) as client:
        assert client.post("/predict", json=ROW).status_code == 200
        assert [line["status"] for line in memory.documents()] == [200]
        memory.full = True
        for path, body in (("/predict", ROW), ("/predict/batch", [ROW])):
            answer = client.post(path, json=body)
            assert answer.status_code == 503
            assert "risk_score" not in answer.text
            assert answer.headers["retry-after"] == "1"
        answer = client.post("/fhir/RiskAssessment", json={})
        assert answer.status_code == 503
        assert client.get("/model").status_code == 200
        assert lost(registry) == 3
        memory.full = False
        assert client.post("/predict", json=ROW).status_code == 200
        assert len(memory.lines) == 2


def test_a_strict_request_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedrisk.serving.journal.STRICT_PATIENCE", 0.05)
    kept = journal(Memory(), strict=True)  # whose writer never began
    assert asyncio.run(kept.keep(scope(), 200)) is False
