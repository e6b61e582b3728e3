"""Several workers behind one socket: figures add up, a killed one comes back, all end together."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import processes_of, running, wait_until

from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.trial_report import read_report
from fedrisk.serving.workers import Workers, forget

from .conftest import ROW, store
from .test_challenger import challenge

COMMAND = [sys.executable, "-c", "from fedrisk.cli import main; main()", "serve"]
ASKED = 60


@pytest.fixture
def served(home: Home, stored: StoredModel) -> Iterator[tuple[subprocess.Popen, str]]:
    options = ["--home", str(home.root), "--port", "0", "--workers", "2", "--json"]
    with running([*COMMAND, *options]) as process:
        url = json.loads(process.stdout.readline())["url"]
        assert wait_until(lambda: answers(f"{url}/ready"), 30)
        yield process, url
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    assert wait_until(lambda: not processes_of(home.root), 10)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def ask(url: str, times: int) -> int:
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/predict", json.dumps(ROW).encode(), kind)
    done = 0
    for _ in range(times):
        with urllib.request.urlopen(request, timeout=10) as answer:
            done += answer.status == 200
    return done


def predictions(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return sum(
        float(value)
        for value in re.findall(r'^predictions_total\{.*endpoint="/predict",.*\} (\S+)', text, re.M)
    )


def workers(home: Home) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"--until-input-closes" in words and str(home.root).encode() in words:
                found.append(int(folder.name))
    return sorted(found)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_figures_add_up_over_workers_and_a_killed_one_comes_back(home: Home, served) -> None:
    _, url = served
    assert ask(url, ASKED) == ASKED
    assert predictions(url) == ASKED
    first = workers(home)
    assert len(first) == 2
    os.kill(first[0], signal.SIGKILL)
    assert wait_until(lambda: len(workers(home)) == 2 and first[0] not in workers(home), 30)
    assert wait_until(lambda: answers(f"{url}/ready"), 30)
    assert ask(url, ASKED) == ASKED
    assert predictions(url) == 2 * ASKED


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_jobs_of_all_workers_are_one_and_outlive_a_killed_worker(home: Home, served) -> None:
    _, url = served
    body = "\n".join([",".join(ROW), *[",".join(map(str, ROW.values()))] * 30_000]).encode()
    kind = {"Content-Type": "text/csv"}
    taken = []
    for _ in range(4):
        request = urllib.request.Request(f"{url}/jobs?explain=true", body, kind)
        with urllib.request.urlopen(request, timeout=60) as answer:
            taken.append(json.loads(answer.read())["id"])
    os.kill(workers(home)[0], signal.SIGKILL)

    def states() -> list[str]:
        return [json.loads(read(f"{url}/jobs/{each}"))["state"] for each in taken]

    assert wait_until(lambda: states() == ["done"] * 4, 120)
    for each in taken:
        assert read(f"{url}/jobs/{each}/result").count(b"\n") == 30_001


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        content: bytes = answer.read()
    return content


def samples(url: str) -> dict[str, float]:
    """Every sample of every worker, by name and labels."""
    found = re.findall(r"^([a-z]\S*) (\S+)$", read(f"{url}/metrics").decode(), re.M)
    return {name: float(value) for name, value in found}


def cumulative(url: str) -> dict[str, float]:
    """Those that may only grow."""
    ends = ("_total", "_count", "_sum", "_bucket")
    return {n: v for n, v in samples(url).items() if n.partition("{")[0].endswith(ends)}


def tried(url: str) -> tuple[int, int]:
    """Requests that champion and challenger answered together, and rows in the shadow."""
    told = read_report(read(f"{url}/trial"))
    return told.champion.requests + told.challenger.requests, told.shadowed.rows


def serving(url: str) -> set[str]:
    """Versions that some worker says it serves."""
    found = samples(url).items()
    told = [name for name, value in found if name.startswith("model_info{") and value == 1]
    return {re.search(r'version="(\w+)"', name)[1] for name in told}


@pytest.fixture
def trial(home: Home, stored: StoredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A challenger 2, and what lets servers try it."""
    challenge(home, "2")
    monkeypatch.setenv("FEDRISK_CANARY_SHARE", "0.5")
    monkeypatch.setenv("FEDRISK_SHADOW", "true")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_figure_goes_back_with_a_killed_worker_and_its_gauges_vanish(
    home: Home, trial: None, served
) -> None:
    _, url = served
    assert wait_until(lambda: len(workers(home)) == 2, 30)
    assert ask(url, ASKED) == ASKED
    assert wait_until(lambda: tried(url)[0] == ASKED, 30)
    seen, (killed, _) = cumulative(url), workers(home)
    os.kill(killed, signal.SIGKILL)
    asked = ASKED
    assert wait_until(lambda: killed not in workers(home), 30)
    while len(workers(home)) < 2 or asked < 2 * ASKED:
        asked += ask(url, 1)
        now = cumulative(url)
        assert [name for name, value in seen.items() if now.get(name, 0.0) < value] == []
        seen = now
    assert wait_until(lambda: tried(url)[0] == asked, 30)
    store(home, "3", seed=3)
    assert wait_until(lambda: serving(url) == {"3"}, 60), samples(url)


class Caller(threading.Thread):
    """Asks over one connection at a time, until it is told to stop."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__()
        self.place = url.removeprefix("http://")
        self.stop = stop
        self.answers = 0
        self.broken = 0
        self.wrong: list[int] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection(self.place, timeout=60)
        while not self.stop.is_set():
            try:
                connection.request("POST", "/predict", json.dumps(ROW).encode())
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                self.broken += 1
                connection.close()
                continue
            self.answers += answer.status == 200
            if answer.status not in (200, 503):  # 503: a loaded machine makes the server late
                self.wrong.append(answer.status)
        connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_worker_takes_no_more_with_it_than_what_it_was_answering(home, served) -> None:
    _, url = served
    assert wait_until(lambda: len(workers(home)) == 2, 30)
    stop = threading.Event()
    callers = [Caller(url, stop) for _ in range(8)]
    for caller in callers:
        caller.start()
    try:
        assert wait_until(lambda: all(caller.answers > 5 for caller in callers), 60)
        killed = workers(home)[0]
        os.kill(killed, signal.SIGKILL)
        before = [caller.answers for caller in callers]
        assert wait_until(
            lambda: all(c.answers > n + 20 for c, n in zip(callers, before, strict=True)), 60
        )
        assert wait_until(lambda: len(workers(home)) == 2 and killed not in workers(home), 60)
    finally:
        stop.set()
        for caller in callers:
            caller.join(60)
    assert all(caller.broken <= 1 for caller in callers)
    assert [caller.wrong for caller in callers] == [[]] * len(callers)


def test_of_a_dead_worker_only_what_it_counted_stays(tmp_path: Path) -> None:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.mmap_dict import MmapedDict, mmap_key
    from prometheus_client.multiprocess import MultiProcessCollector

    for number, name in enumerate(
        ("counter_77", "counter_177", "gauge_livemax_77", "gauge_min_77")
    ):
        metric = f"{name.rpartition('_')[0]}_x"
        file = MmapedDict(str(tmp_path / f"{name}.db"))
        file.write_value(mmap_key(metric, metric, [], [], ""), float(number + 1), 0.0)
        file.close()
    (tmp_path / "histogram_77.db").touch()  # killed before it was filled
    forget(tmp_path, 77)
    together = CollectorRegistry()
    MultiProcessCollector(together, str(tmp_path))
    lines = sorted(generate_latest(together).decode().splitlines())
    assert [line for line in lines if not line.startswith("#")] == [
        "counter_x 3.0",
        "gauge_min_x 4.0",
    ]


@pytest.mark.parametrize(("code", "ended"), [(0, 0), (143, 0), (1, 1)])
def test_a_worker_that_the_signal_met_early_has_ended_well(
    home: Home, code: int, ended: int
) -> None:
    program = (
        "import signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))\n"
        "print('ready', flush=True)\ntime.sleep(600)"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as opened,
        running([sys.executable, "-c", program]) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        workers = Workers(home, opened, 1, {}, print)
        workers._processes[0] = (process, 0.0)
        assert workers._end() == ended
