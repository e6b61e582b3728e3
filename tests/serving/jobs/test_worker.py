"""Jobs outlive whoever runs them: the server, the process that scores, a holder that comes late."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry
from serving.conftest import TestClient, store, until

from fedrisk.serving.champion import Champion
from fedrisk.serving.jobs import JobRunner
from fedrisk.serving.jobs.store import Job
from fedrisk.serving.metrics import ServingMetrics
from fedrisk.serving.predict import Limits, PredictBatch
from fedrisk.serving.process import ServerProcess, start_server

from .conftest import CSV, HEAD, LINE, ended, make_room

#: Long enough to be killed in the middle, by far.
ROWS = 60_000


def ask(server: ServerProcess, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    place = server.url.removeprefix("http://")
    with closing(http.client.HTTPConnection(place, timeout=120)) as connection:
        connection.request(method, path, body, CSV if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def told(server: ServerProcess, path: str) -> dict:
    return json.loads(ask(server, "GET", path)[1])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "serve.log"


def test_a_server_that_is_killed_ends_its_jobs_after_its_next_start(home, stored, log) -> None:
    body = HEAD + LINE * ROWS
    server = start_server(home, "127.0.0.1", 0, log)
    server.wait_ready()
    answers: list[tuple[int, bytes]] = []

    def answered() -> bool:  # a loaded machine turns batches away for a moment
        answers.append(ask(server, "POST", "/predict/batch?explain=true", body))
        return answers[-1][0] == 200

    until(answered, 60)
    paths = []
    for _ in range(2):
        status, answer = ask(server, "POST", "/jobs?explain=true", body)
        assert status == 202
        paths.append("/jobs/" + json.loads(answer)["id"])
    until(lambda: told(server, paths[0])["state"] == "running", 60)
    until(lambda: (home.root / paths[0][1:] / "model").exists(), 60)
    children = psutil.Process(server.process.pid).children(recursive=True)
    server.process.kill()
    assert server.stop() == -9
    until(lambda: not any(child.is_running() for child in children), 60)
    store(home, "2", seed=2)
    again = start_server(home, "127.0.0.1", 0, log)
    try:
        again.wait_ready()
        until(lambda: all(told(again, path)["state"] == "done" for path in paths), 120)
        assert told(again, paths[0])["attempts"] == 2
        assert told(again, paths[0])["model"]["version"] == "1"  # the one that it began with
        assert ask(again, "GET", f"{paths[0]}/result") == answers[-1]
        assert told(again, paths[1])["model"]["version"] == "2"
    finally:
        assert again.stop() == 0


def scoring(pid: int) -> list[psutil.Process]:
    """Processes below one that score a job."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if "fedrisk.serving.jobs.child" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_process_that_is_killed_is_replaced_but_not_for_ever(client: TestClient) -> None:
    body, me = HEAD + LINE * ROWS, psutil.Process().pid
    once = client.post("/jobs?explain=true", content=body, headers=CSV).json()["id"]
    until(lambda: len(scoring(me)) == 1)
    scoring(me)[0].kill()
    job = ended(client, once)
    assert (job["state"], job["attempts"], job["rows"]) == ("done", 2, ROWS)
    often = client.post("/jobs?explain=true", content=body, headers=CSV).json()["id"]
    killed = set()

    def kill_until_it_ends() -> bool:
        for child in scoring(me):
            child.kill()
            killed.add(child.pid)
        return client.get(f"/jobs/{often}").json()["state"] == "failed"

    until(kill_until_it_ends, 60)
    assert len(killed) == 3
    job = ended(client, often)
    assert job["state"] == "failed"
    assert "ended with code -9" in job["error"]["error"]


@pytest.fixture
def runners(home, stored, clock) -> Iterator[list[JobRunner]]:
    """Two that do not see each other's lock, as on a disk whose locks do not hold."""
    made = []
    for holder in "ab":
        champion = Champion(home.champion)
        champion.refresh()
        metrics = ServingMetrics(CollectorRegistry())
        small = PredictBatch(champion, metrics, Limits(), endpoint="/jobs")
        made.append(JobRunner(make_room(home, clock, holder), small, None))
    yield made
    for runner in made:
        runner.room.close()


def test_a_lease_that_runs_out_is_taken_over_and_the_late_result_is_none(
    runners: list[JobRunner], clock
) -> None:
    late, next_one = runners
    room = late.room
    place = room.files.place()
    with room.files.begin("j") as draft:
        draft.write(HEAD + LINE * 10)
        room.files.keep("j", draft)
    size = len(HEAD + LINE * 10)
    room.store.add(Job("j", "", place, "here", "text/csv", False, False, "r", size, room.now()), 5)
    held = room.store.claim(place, "a", room.now(), room.rules.lease)
    assert held is not None
    assert asyncio.run(turns(next_one, place)) is False  # the lease has not run out
    clock.pass_seconds(room.rules.lease + 1)
    assert asyncio.run(turns(next_one, place)) is True
    job = room.store.find("j")
    assert (job.state, job.fence, job.holder) == ("done", 2, "b")
    result = room.files.result(job).read_bytes()
    assert result.count(b"\n") == 11
    asyncio.run(late.work(held))  # wakes up, and finds nothing to change
    assert room.store.find("j") == job
    assert room.files.result(job).read_bytes() == result


def test_of_two_processes_of_one_disk_one_runs_jobs(runners: list[JobRunner]) -> None:
    first, second = runners
    first.room.files.place()
    assert first._locked()
    assert not second._locked()
    lock = first._lock
    assert lock is not None
    lock.close()  # as at its end, in whatever way
    assert second._locked()
    held = second._lock
    assert held is not None
    held.close()


async def turns(runner: JobRunner, place: str) -> bool:
    """Claim and run as `JobRunner.turn` does, without believing others dead."""
    room = runner.room
    job = room.store.claim(place, room.holder, room.now(), room.rules.lease)
    if job is not None:
        await runner.work(job)
    return job is not None
