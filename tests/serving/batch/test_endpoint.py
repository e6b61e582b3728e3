"""Long batches against a real server: whole answers, streamed ones, memory, limits."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from serving.conftest import ROW, until
from serving.conftest import home as home
from serving.conftest import stored as stored

from fedrisk.serving.process import ServerProcess, start_server

CSV = {"Content-Type": "text/csv"}
LINES = {"Content-Type": "application/x-ndjson"}
HEAD = b"age,pm2.5,marker,sex,ward\n"
LINE = b"71.5,12.0,-1.25,male,c d\n"


@pytest.fixture
def server(home, stored, tmp_path: Path, monkeypatch) -> Iterator[ServerProcess]:
    monkeypatch.setenv("FEDRISK_BATCH_ROWS", "6000000")
    server = start_server(home, "127.0.0.1", 0, tmp_path / "serve.log")
    server.wait_ready()
    yield server
    assert server.stop() == 0


def connect(server: ServerProcess) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)


def ask(server: ServerProcess, body: object, headers: dict, query: str = "") -> tuple[int, bytes]:
    with closing(connect(server)) as connection:
        connection.request("POST", f"/predict/batch{query}", body, headers)
        answer = connection.getresponse()
        with answer:
            return answer.status, answer.read()


def test_a_long_batch_is_answered_as_a_short_one_in_every_format(server: ServerProcess) -> None:
    count = 5000
    status, answer = ask(server, HEAD + LINE * count, CSV)
    assert status == 200
    assert answer.count(b"\n") == count + 1
    assert answer.startswith(ask(server, HEAD + LINE, CSV)[1])
    line = json.dumps(ROW).encode() + b"\n"
    status, lines = ask(server, line * count, LINES)
    assert (status, lines.count(b"\n")) == (200, count)
    assert lines == ask(server, line, LINES)[1] * count
    packed = gzip.compress(HEAD + LINE * count)
    assert ask(server, packed, CSV | {"Content-Encoding": "gzip"}) == (200, answer)
    document = json.dumps([ROW] * count).encode()
    status, whole = ask(server, document, {"Content-Type": "application/json"})
    assert len(json.loads(whole)["predictions"]) == count
    assert ask(server, HEAD + LINE * count, CSV, "?stream=true") == (200, answer)
    connection = connect(server)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    assert 'endpoint="/predict/batch",level="medium",version="1"} 25002.0' in text


def test_one_wrong_row_refuses_all_of_it_wherever_it_is(server: ServerProcess) -> None:
    body = HEAD + LINE * 100_000 + LINE.replace(b"71.5", b"171") + LINE * 10
    status, answer = ask(server, body, CSV)
    assert status == 422
    told = json.loads(answer)
    assert (told["total"], told["detail"][0]["row"]) == (1, 100_001)
    for bad, code in ((b"x" * 100_000, 400), (HEAD + b"1,2\n" * 50_000, 400)):
        assert ask(server, bad, CSV)[0] == code
    packed = CSV | {"Content-Encoding": "gzip"}
    assert ask(server, body, packed)[0] == 400
    assert ask(server, body, CSV | {"Content-Encoding": "br"})[0] == 415
    assert ask(server, body, CSV, "?stream=perhaps")[0] == 400
    assert ask(server, b"[]", {"Content-Type": "application/json"}, "?stream=true")[0] == 400


def test_a_stream_answers_while_the_body_comes_and_breaks_where_it_is_wrong(server) -> None:
    line = json.dumps(ROW).encode() + b"\n"
    wrong = json.dumps(ROW | {"age": 171}).encode() + b"\n"
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        head = (
            b"POST /predict/batch?stream=true HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        )
        raw.sendall(head + b"Content-Type: application/x-ndjson\r\n\r\n")
        raw.sendall(b"%x\r\n%s\r\n" % (len(line), line))
        seen = b""
        while b"risk_score" not in seen:  # the body has not ended
            part = raw.recv(65536)
            assert part
            seen += part
        raw.sendall(b"%x\r\n%s\r\n" % (len(wrong), wrong))
        while part := raw.recv(65536):
            seen += part
    assert b'"total":1' in seen
    assert b'"row":2' in seen
    assert not seen.endswith(b"0\r\n\r\n")  # no reader can take it for whole
    with pytest.raises(http.client.IncompleteRead):
        ask(server, HEAD + LINE * 60_000 + b"1,2\n", CSV, "?stream=true")


def peak(process: psutil.Process) -> float:
    """Most megabytes that a process has had resident so far."""
    words = Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1].split()
    return int(words[0]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into /proc")
def test_memory_does_not_grow_with_the_body_or_with_a_slow_reader(server: ServerProcess) -> None:
    rows, part = 5_500_000, LINE * 5000
    process = psutil.Process(server.process.pid)
    scoring: dict[int, float] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            for child in process.children():
                try:
                    scoring[child.pid] = max(scoring.get(child.pid, 0), peak(child))
                except (OSError, IndexError):
                    continue

    looking = threading.Thread(target=look)
    looking.start()
    connection = connect(server)
    body = (HEAD if not place else part for place in range(rows // 5000 + 1))
    connection.request("POST", "/predict/batch", body, CSV, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 200
    first = answer.read(1000)
    probe = connect(server)
    probe.request("GET", "/ready")  # while the reader of the long answer takes nothing
    assert probe.getresponse().status == 200
    probe.close()
    assert (first + answer.read()).count(b"\n") == rows + 1
    connection.close()
    done.set()
    looking.join()
    assert peak(process) < 150
    assert 0 < max(scoring.values()) < 260


def test_a_process_scores_one_body_after_the_other_until_one_goes_wrong(
    server: ServerProcess,
) -> None:
    process = psutil.Process(server.process.pid)

    answers = [ask(server, HEAD + LINE * rows, CSV) for rows in (12_000, 9_000, 15_000)]
    assert [status for status, *_ in answers] == [200] * 3
    assert [answer[-1].count(b"\n") for answer in answers] == [12_001, 9_001, 15_001]
    before = {child.pid for child in process.children()}
    assert ask(server, HEAD + LINE * 10_000, CSV)[0] == 200
    assert {child.pid for child in process.children()} == before
    assert ask(server, HEAD + LINE * 10_000 + b"1,2\n", CSV)[0] in (400, 422)
    assert ask(server, HEAD + LINE * 10_000, CSV)[0] == 200
    assert {child.pid for child in process.children()} != before


def test_a_caller_that_goes_away_leaves_nothing_behind(server: ServerProcess, home) -> None:
    process = psutil.Process(server.process.pid)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        head = b"POST /predict/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n"
        raw.sendall(head + b"Content-Type: text/csv\r\n\r\n" + HEAD + LINE * 20_000)
        until(lambda: len(process.children()) == 2)  # one that scores, one for the next
        first = {child.pid for child in process.children()}
    until(lambda: len({child.pid for child in process.children()} & first) == 1)
    assert list((home.serving / "batches").iterdir()) == []
    assert ask(server, HEAD + LINE * 10_000, CSV)[0] == 200
