"""One supervised set of small real processes: it starts, is watched, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from running import processes_of, wait_until

from fedrisk.errors import PortInUseError
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.supervision import run as supervision_run
from fedrisk.federation.supervision.run import Supervised, accepts, listens, stop_on_signals
from fedrisk.federation.supervision.supervisor import Service
from fedrisk.probes import Place

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Small(Supervised):
    """Runs one program that writes a word and waits."""

    def __init__(self, folder: Path) -> None:
        self.events: list[dict[str, Any]] = []
        folder.mkdir(exist_ok=True)
        super().__init__(folder, dict(os.environ), False, self.note)
        self.program = "import time; print('at work', flush=True); time.sleep(600)"
        self.fault: Exception | None = None
        self.ticks = 0

    def note(self, event: str, **facts: Any) -> None:
        self.events.append({"event": event} | facts)

    def _run_guarded(self, stop: threading.Event) -> None:
        super()._run_guarded(stop)
        guardian = self.processes._guardian
        with suppress(BrokenPipeError):
            guardian.stdin.close()
        guardian.stdout.close()

    def services(self) -> Sequence[Service]:
        return [
            Service(
                "worker",
                self.started("worker", self.argv),
                lambda: "at work" in self.said("worker"),
            )
        ]

    def argv(self) -> list[str]:
        if self.fault:
            raise self.fault
        return [sys.executable, "-c", self.program, str(self.folder)]

    def details(self) -> dict[str, Any]:
        return {"who": "small"}

    def each_tick(self) -> None:
        self.ticks += 1

    def worker(self) -> psutil.Process:
        (found,) = [
            process
            for process in psutil.Process().children(recursive=True)
            if process.cmdline()[-1:] == [str(self.folder)] and "-c" in process.cmdline()
        ]
        return found

    def told(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == event]


@contextmanager
def running(small: Small) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=small.run, args=(stop, Place()))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path / "a folder")


def probe(small: Small) -> tuple[int, dict[str, Any]]:
    address = json.loads((small.folder / "running.json").read_text())["health"]
    answer = httpx.get(f"{address}/ready")
    return answer.status_code, answer.json()


def test_it_works_until_it_is_stopped_and_leaves_nothing(small: Small) -> None:
    with running(small):
        assert wait_until(small.ready, 20)
        status, report = probe(small)
        assert (status, report["who"], report["services"]["worker"]["state"]) == (
            200,
            "small",
            "running",
        )
    assert processes_of(small.folder) == []
    assert not (small.folder / "running.json").exists()
    assert [one["event"] for one in small.events][-2:] == ["stopping", "stopped"]
    assert not small.ready()


def test_it_is_not_ready_while_it_starts(small: Small) -> None:
    small.program = "import time; time.sleep(600)"
    with running(small):
        assert wait_until(lambda: small.told("starting"), 20)
        status, report = probe(small)
        assert (status, report["services"]["worker"]["state"]) == (503, "starting")
        assert httpx.get(f"{small.told('started')[0]['health'][:-6]}/health").status_code == 200


def test_a_killed_process_and_a_killed_guardian_are_replaced(small: Small) -> None:
    with running(small):
        assert wait_until(small.ready, 20)
        first = small.worker()
        first.kill()
        assert wait_until(lambda: small.told("exited"), 20)
        assert wait_until(small.ready, 20)
        second, guardian = small.worker(), small.processes._guardian
        assert second != first
        guardian.kill()
        assert wait_until(lambda: small.told("guardian lost"), 20)
        assert wait_until(small.ready, 20)
        assert small.worker() != second
    assert processes_of(small.folder) == []


def test_a_stop_is_heard_while_guardians_are_lost_again_and_again(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[int] = []
    monkeypatch.setattr(small, "_run_guarded", lambda stop: lost.append(1))
    with running(small) as stop:
        assert wait_until(lambda: len(lost) >= 2, 20)
        assert len(lost) <= 3, "the pauses grow"
        stop.set()


def test_what_cannot_be_started_now_is_started_later(small: Small) -> None:
    small.fault = OSError(28, "No space left on device")
    with running(small):
        assert wait_until(lambda: small.told("cannot start"), 20)
        assert "No space left" in small.told("cannot start")[0]["reason"]
        small.fault = None
        assert wait_until(small.ready, 20)


def test_a_taken_health_port_is_an_error_before_anything_starts(small: Small) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PortInUseError):
            small.run(threading.Event(), Place(port=other.getsockname()[1]))
    assert small.events == []


def test_logs_are_set_aside_while_their_process_writes(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision_run, "LARGEST_LOG", 10_000)
    monkeypatch.setattr(supervision_run, "TRIM_SECONDS", 0.0)
    small.program = (
        "import time\nprint('at work', flush=True)\n"
        "for n in range(10**9): print(f'line {n}', 'x' * 100, flush=True); time.sleep(0.0005)"
    )
    log = small.folder / "logs" / "worker.log"
    with running(small):
        assert wait_until(lambda: log.with_suffix(".log.1").exists(), 30)
        assert wait_until(lambda: "\0" not in small.last_words("worker") != "", 10)
    sizes = {path.name: path.stat().st_size for path in log.parent.iterdir()}
    assert set(sizes) == {"worker.log", "worker.log.1", "guardian.log"}
    assert b"\0" not in log.read_bytes(), "it writes on at the beginning, not behind a hole"


def test_only_what_was_said_since_the_last_start_counts(small: Small) -> None:
    small.logs.mkdir(parents=True)
    log = small.logs / "worker.log"
    log.write_text("at work, long ago\n")
    small.started("worker", list)()
    assert small.said("worker") == ""
    assert small.last_words("worker") == ""
    with log.open("a") as file:
        file.write("x" * 3_000_000 + "the end")
    assert small.last_words("worker").endswith("the end")
    assert len(small.last_words("worker")) == supervision_run.LAST_WORDS


def test_nothing_is_told_after_the_end(small: Small) -> None:
    release = threading.Event()
    with running(small) as stop:
        assert wait_until(lambda: small.ticks, 20)

        def late() -> None:
            release.wait(30)
            small.log("too late")

        thread = small.beside(late)
        stop.set()
    release.set()
    thread.join(20)
    assert small.events[-1]["event"] == "stopped"


def test_work_beside_is_waited_for_a_little(small: Small) -> None:
    with running(small) as stop:
        assert wait_until(lambda: small.ticks, 20)
        small.beside(lambda: small.log("done"))
        stop.set()
    assert small.told("done")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_set_the_event_and_get_their_handlers_back(number: signal.Signals) -> None:
    former = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
    assert signal.getsignal(number) is former


def test_listening_and_accepting_are_seen(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    assert not listens(port)
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        assert listens(port)
    place = tmp_path / "socket"
    assert not accepts(place)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        assert not accepts(place), "bound, but nobody listens"
        server.listen()
        assert accepts(place)
    assert place.exists()
    assert not accepts(place), "what a killed process left"
