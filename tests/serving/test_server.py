"""A real server as a whole: its end under load, and callers that send nonsense."""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from running import start

from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel

from .conftest import ROW, store, until

JSON = {"Content-Type": "application/json"}
BODY = json.dumps(ROW).encode()


@dataclass
class Caller:
    """Asks all the time, each time over a new connection, and notes whose answers came."""

    address: tuple[str, int]
    name: str
    answered: list[str] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        for number in itertools.count():
            if self.done.is_set():
                return
            identifier = f"{self.name}-{number}"
            # Once the server has ended, nobody listens any more.
            with suppress(OSError, http.client.HTTPException):
                status, _ = ask(self.address, BODY, JSON | {"X-Request-ID": identifier})
                if status == 200:
                    self.answered.append(identifier)
                else:
                    self.refused.append(status)


def ask(
    address: tuple[str, int], body: bytes, headers: dict[str, str], path: str = "/predict"
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def ready(address: tuple[str, int]) -> int:
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def serve(home: Home, *words: str, **settings: str) -> tuple[subprocess.Popen[str], Any]:
    """A started server and its address."""
    process = start("serve", "--home", str(home.root), "--port", "0", "--json", *words, **settings)
    assert process.stdout is not None
    host, _, port = json.loads(process.stdout.readline())["url"][7:].partition(":")
    address = (host, int(port))
    until(lambda: ready(address) == 200, 60)
    return process, address


def counted(home: Home) -> float:
    """Rows in the windows that left, and in those that wait for the next start."""
    rows = 0.0
    if home.state.exists():
        with sqlite3.connect(home.state) as database:
            tables = [t for (t,) in database.execute("SELECT name FROM sqlite_master")]
            assert "windows" in tables, tables
            rows = sum(r for (r,) in database.execute("SELECT rows FROM windows"))
    for file in home.serving.glob("capture-*.json"):
        document = json.loads(file.read_text())
        rows += sum(each["profile"]["rows"] for each in document["open"] + document["closed"])
    return rows


@pytest.mark.parametrize("workers", [1, 2])
def test_the_end_under_load_loses_nothing(
    home: Home, stored: StoredModel, tmp_path: Path, workers: int
) -> None:
    journal = tmp_path / "audit"
    settings = {"FEDRISK_AUDIT": str(journal), "FEDRISK_DRAIN_SECONDS": "2"}
    process, address = serve(home, "--workers", str(workers), **settings)
    callers = [Caller(address, name) for name in "abc"]
    threads = [threading.Thread(target=caller.run) for caller in callers]
    with socket.create_connection(address, timeout=60) as raw:
        raw.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-ID: in-flight\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        )
        for thread in threads:
            thread.start()
        until(lambda: all(len(caller.answered) > 10 for caller in callers), 60)
        process.send_signal(signal.SIGTERM)
        until(lambda: ready(address) == 503)
        before = [len(caller.answered) for caller in callers]
        until(lambda: all(len(c.answered) > b for c, b in zip(callers, before, strict=True)))
        raw.sendall(BODY)
        assert raw.recv(65536).startswith(b"HTTP/1.1 200")
    assert process.wait(60) == 0
    for caller, thread in zip(callers, threads, strict=True):
        caller.done.set()
        thread.join(60)
    answered = {"in-flight"}.union(*(caller.answered for caller in callers))
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    scored = [line["request_id"] for line in lines if line["status"] == 200]
    assert answered <= set(scored)
    assert len(scored) == len(set(scored)) == counted(home)
    assert {status for caller in callers for status in caller.refused} <= {503}
    close(process)


def close(process: subprocess.Popen[str]) -> str:
    """Give pipes back; what was on standard error."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        return process.stderr.read()


#: Stands for somebody's value: in no log and no journal may it be found.
NUMBER, TEXT = "71717.171", "MARKERVALUE"
NESTED = b"[" * 5_000_000 + b"]" * 5_000_000
WRONG = {
    "nothing": b"",
    "no JSON": b'{"age": ' + NUMBER.encode(),
    "no text": b"\xff\xfe" + TEXT.encode(),
    "another encoding": json.dumps(ROW | {"ward": TEXT}).encode("utf-16"),
    "compressed": b"\x1f\x8b\x08\x00" + TEXT.encode(),
    "a word": f'"{TEXT}"'.encode(),
    "a number": NUMBER.encode(),
    "null": b"null",
    "an empty list": b"[]",
    "a list of numbers": f"[{NUMBER}]".encode(),
    "an empty object": b"{}",
    "a missing field": f'{{"age": {NUMBER}}}'.encode(),
    "an unknown field": json.dumps(ROW | {TEXT: 1}).encode(),
    "a text for a number": json.dumps(ROW | {"age": TEXT}).encode(),
    "a number for a level": json.dumps(ROW | {"ward": float(NUMBER)}).encode(),
    "out of bounds": json.dumps(ROW | {"age": float(NUMBER)}).encode(),
    "an object for a number": json.dumps(ROW | {"age": {TEXT: float(NUMBER)}}).encode(),
    "a boolean": json.dumps(ROW | {"age": True, "ward": TEXT}).encode(),
    "not a number": json.dumps(ROW | {"age": float("nan"), "ward": TEXT}).encode(),
    "infinity": json.dumps(ROW | {"age": float("inf"), "ward": TEXT}).encode(),
    "beyond floats": BODY.replace(b"71.5", b"1e999"),
    "a long integer": BODY.replace(b"71.5", b"7" * 500),
    "10 MB of brackets": NESTED,
    "a deep value": BODY.replace(b"71.5", b"[" * 100_000 + b"]" * 100_000),
    "a lone surrogate": BODY.replace(b'"male"', b'"\\ud800' + TEXT.encode() + b'"'),
    "a null byte": BODY.replace(b'"male"', b'"\\u0000' + TEXT.encode() + b'"'),
}
PLACES = [
    ("/predict", "application/json"),
    ("/predict/batch", "application/json"),
    ("/predict/batch", "application/x-ndjson"),
    ("/predict/batch", "text/csv"),
    ("/v2/models/clinic/infer", "application/json"),
    ("/fhir/RiskAssessment", "application/fhir+json"),
    ("/cds-services/clinic", "application/json"),
]
#: Refused before a body is looked at.
REQUESTS = [(f"{path}?explain={TEXT}", kind, BODY) for path, kind in PLACES[:1]] + [
    (path, f"text/{TEXT}", BODY) for path, _ in PLACES
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server's address; at its end nothing of what it was sent may be found."""
    folder = tmp_path_factory.mktemp("bad")
    home = Home(folder / "home").prepare()
    store(home)
    journal = folder / "audit"
    settings = {
        "FEDRISK_AUDIT": str(journal),
        "FEDRISK_LOG_FORMAT": "json",
        "FEDRISK_LOG_LEVEL": "debug",
    }
    process, address = serve(home, **settings)
    yield address
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    log = close(process)
    for line in log.splitlines():
        assert {"time", "level", "logger", "message"} <= json.loads(line).keys()
    found = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len(found) >= len(PLACES)
    assert {line["rows"] for line in found} == {0}
    for text in (log, journal.read_text(), *(f.read_text() for f in home.serving.glob("*.json"))):
        assert not any(value in text for value in (NUMBER, TEXT, "Traceback", "failed"))


@pytest.mark.parametrize(("path", "kind"), PLACES, ids=lambda value: value)
def test_nonsense_is_refused_and_repeated_nowhere(bad: Any, path: str, kind: str) -> None:
    answers = {name: ask(bad, body, {"Content-Type": kind}, path) for name, body in WRONG.items()}
    statuses = {name: status for name, (status, _) in answers.items()}
    assert [name for name, status in statuses.items() if not 400 <= status < 500] == []
    assert all(json.loads(body) for _, body in answers.values())
    assert not any(b"Traceback" in body for _, body in answers.values())


@pytest.mark.parametrize(("path", "kind", "body"), REQUESTS)
def test_a_wrong_query_or_content_type_is_refused(
    bad: Any, path: str, kind: str, body: bytes
) -> None:
    status, text = ask(bad, body, {"Content-Type": kind}, path)
    assert status in (400, 415)
    assert json.loads(text)


@pytest.mark.parametrize(
    ("name", "told", "rule"),
    [
        ("a missing field", "marker", "must not be missing"),
        ("an unknown field", TEXT, "is not a feature of the study"),
        ("a text for a number", "age", "must be a number"),
        ("a number for a level", "ward", "must be one of"),
        ("out of bounds", "age", "must be between 0 and 120 year"),
        ("infinity", "age", "must be"),
    ],
)
def test_a_refusal_names_field_and_rule(bad: Any, name: str, told: str, rule: str) -> None:
    status, text = ask(bad, WRONG[name], JSON)
    assert status == 422
    rules = {each["field"]: each["rule"] for each in json.loads(text)["detail"]}
    assert rule in rules[told]
