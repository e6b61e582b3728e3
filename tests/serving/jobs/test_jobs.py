"""Jobs through the API: what they answer, whose they are, what limits them, what they leave."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from serving.conftest import ROW, TestClient, store, until
from small_disk import fill, mounted

from fedrisk.serving.access import Guard
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.app import create_app

from .conftest import CSV, HEAD, LINE, ended, make_room

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_job_answers_what_a_batch_answers_in_every_format(client: TestClient) -> None:
    same = {"X-Request-ID": "same"}
    line = json.dumps(ROW).encode() + b"\n"
    for body, headers in (
        (HEAD + LINE * 5000, CSV),
        (gzip.compress(HEAD + LINE * 5000), CSV | {"Content-Encoding": "gzip"}),
        (line * 3000, {"Content-Type": "application/x-ndjson"}),
        (json.dumps([ROW] * 20).encode(), {"Content-Type": "application/json"}),
    ):
        batch = client.post("/predict/batch", content=body, headers=headers | same)
        taken = client.post("/jobs", content=body, headers=headers | same)
        assert taken.status_code == 202
        job = taken.json()
        assert taken.headers["location"] == f"/jobs/{job['id']}"
        assert (job["state"], job["bytes"]) == ("queued", {"read": 0, "total": len(body)})
        job = ended(client, job["id"])
        assert (job["state"], job["error"]) == ("done", None)
        assert job["model"] == {"name": "clinic", "version": "1"}
        assert job["bytes"]["read"] == len(body)
        answer = client.get(job["result"])
        assert answer.status_code == 200
        assert answer.content == batch.content
        assert answer.headers["x-model-version"] == "1"
        assert answer.headers["content-type"] == batch.headers["content-type"]
        part = client.get(job["result"], headers={"Range": "bytes=5-9"})
        assert (part.status_code, part.content) == (206, batch.content[5:10])
    text = client.get("/metrics").text
    assert 'jobs_total{state="done"} 4.0' in text
    assert "job_rows_total 13020.0" in text
    assert 'endpoint="/jobs",level="medium",version="1"} 13020.0' in text


def test_wrong_rows_are_told_by_rule_and_row_and_without_their_value(client, home) -> None:
    body = HEAD + LINE * 3000 + LINE.replace(b"71.5", b"171.25") + LINE
    job = ended(client, client.post("/jobs", content=body, headers=CSV).json()["id"])
    batch = client.post("/predict/batch", content=body, headers=CSV).json()
    assert (job["state"], job["result"], job["error"]["status"]) == ("failed", None, 422)
    told = {key: batch["detail"][0][key] for key in ("row", "field", "rule")}
    assert job["error"]["detail"] == [told]
    assert job["error"]["total"] == 1
    assert "171" not in json.dumps(job).replace(job["id"], "").replace(job["request_id"], "")
    refused = client.get(f"/jobs/{job['id']}/result")
    assert (refused.status_code, refused.json()["error"]) == (
        409,
        "the job is failed, there is no result",
    )
    until(lambda: list((home.jobs / job["id"]).iterdir()) == [])
    broken = ended(client, client.post("/jobs", content=b"{").json()["id"])
    assert broken["error"]["status"] == 400


def test_what_a_batch_refuses_at_once_a_job_does_too(client: TestClient, home) -> None:
    for headers, query, status in (
        ({"Content-Type": "text/plain"}, "", 415),
        (CSV | {"Content-Encoding": "br"}, "", 415),
        (CSV, "?explain=perhaps", 400),
        (CSV | {"Content-Length": str(1 << 40)}, "", 413),
    ):
        answer = client.post(f"/jobs{query}", content=HEAD, headers=headers)
        assert answer.status_code == status
    for path in ("/jobs/nothing", "/jobs/nothing/result"):
        assert client.get(path).status_code == 404
    assert client.delete("/jobs/nothing").status_code == 404
    assert not home.jobs.exists()


def test_limits_of_number_bytes_and_disk(home, stored, clock) -> None:
    room = make_room(home, clock, waiting=1, disk_bytes=600)
    with TestClient(create_app(home, jobs=room)) as client:
        body = iter([HEAD, LINE * 30])
        long = client.post("/jobs", content=iter([LINE * 100]), headers=CSV)
        assert long.status_code == 507
        room.rules = make_room(home, clock, waiting=1, most_bytes=1000).rules
        assert client.post("/jobs", content=iter([LINE * 100]), headers=CSV).status_code == 413
        assert [path for path in home.jobs.iterdir() if not path.name.startswith(".")] == []
        room.rules = make_room(home, clock, waiting=0).rules
        refused = client.post("/jobs", content=body, headers=CSV)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
    room.close()


def test_a_full_disk_refuses_a_job_and_goes_on_once_there_is_room(
    home, stored, clock, tmp_path
) -> None:
    with mounted(tmp_path / "disk", "1m") as disk:
        room = replace(make_room(home, clock), root=disk / "jobs")
        with TestClient(create_app(home, jobs=room)) as client:
            filler = fill(disk)
            refused = client.post("/jobs", content=HEAD + LINE * 5000, headers=CSV)
            assert refused.status_code == 507
            assert "the server's disk is full" in refused.json()["error"]
            assert client.get("/jobs").json() == {"jobs": []}
            assert client.post("/predict", json=ROW).status_code == 200
            filler.unlink()
            taken = client.post("/jobs", content=HEAD + LINE * 5000, headers=CSV)
            assert taken.status_code == 202
            assert ended(client, taken.json()["id"])["state"] == "done"
        room.close()


def test_a_result_that_finds_no_room_fails_its_job_and_leaves_nothing(
    home, stored, clock, tmp_path
) -> None:
    body = HEAD + LINE * 20_000
    with mounted(tmp_path / "disk", "1m") as disk:
        room = replace(make_room(home, clock), root=disk / "jobs")
        with TestClient(create_app(home, jobs=room)) as client:
            job = ended(
                client, client.post("/jobs?explain=true", content=body, headers=CSV).json()["id"]
            )
            assert (job["state"], job["result"], job["error"]["status"]) == ("failed", None, 507)
            until(lambda: list((room.root / job["id"]).iterdir()) == [])
            small = client.post("/jobs", content=HEAD + LINE, headers=CSV).json()
            assert ended(client, small["id"])["state"] == "done"
        room.close()


def test_a_job_is_its_keys_and_an_administrators(home, stored, room, tmp_path) -> None:
    made = {
        name: make_key(name, scopes, NOW)
        for name, scopes in (
            ("one", ["batch"]),
            ("two", ["batch"]),
            ("boss", ["admin"]),
            ("small", ["predict"]),
        )
    }
    write_keys(tmp_path / "keys.json", KeyRing({key.id: key for key, _ in made.values()}))
    guard = Guard(tmp_path / "keys.json", None, lambda: NOW)
    bearer = {name: {"Authorization": f"Bearer {secret}"} for name, (_, secret) in made.items()}
    with TestClient(create_app(home, jobs=room, guard=guard)) as client:
        for name, status in (("small", 403), ("boss", 403), ("one", 202)):
            taken = client.post("/jobs", content=HEAD + LINE, headers=CSV | bearer[name])
            assert taken.status_code == status
        identifier = taken.json()["id"]
        assert ended(client, identifier, bearer["one"])["state"] == "done"
        for path in (f"/jobs/{identifier}", f"/jobs/{identifier}/result"):
            assert client.get(path).status_code == 401
            codes = [client.get(path, headers=bearer[x]).status_code for x in bearer]
            assert codes == [200, 404, 200, 403]
        listed = [client.get("/jobs", headers=bearer[x]) for x in bearer]
        assert [len(x.json().get("jobs", "")) for x in listed] == [1, 0, 1, 0]
        assert client.delete(f"/jobs/{identifier}", headers=bearer["two"]).status_code == 404
        assert client.delete(f"/jobs/{identifier}", headers=bearer["boss"]).status_code == 204
        assert client.get(f"/jobs/{identifier}", headers=bearer["one"]).status_code == 404
    assert not (home.jobs / identifier).exists()


def test_a_running_job_is_cancelled_and_then_deleted(client: TestClient, home) -> None:
    body = HEAD + LINE * 400_000
    path = client.post("/jobs?explain=true", content=body, headers=CSV).headers["location"]
    until(lambda: client.get(path).json()["state"] == "running")
    assert client.get(f"{path}/result").status_code == 409
    assert client.delete(path).status_code == 204
    assert client.get(path).json()["state"] == "cancelled"
    folder = home.root / path[1:]
    until(lambda: list(folder.iterdir()) == [])
    after = client.post("/jobs", content=HEAD + LINE, headers=CSV).json()["id"]
    assert ended(client, after)["state"] == "done"  # the runner went on
    assert list(folder.iterdir()) == []
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert not folder.exists()


def test_results_expire_and_orphans_are_swept(client: TestClient, home, clock) -> None:
    first = client.post("/jobs", content=HEAD + LINE, headers=CSV).json()["id"]
    assert ended(client, first)["kept_until"] == "2026-01-02T00:00:00+00:00"
    orphan = home.jobs / "orphan"
    orphan.mkdir()
    (orphan / "body.part").write_bytes(b"x")
    clock.pass_seconds(24 * 3600 + 1)
    until(lambda: not (home.jobs / first).exists() and not orphan.exists())
    assert client.get(f"/jobs/{first}").status_code == 404


def test_the_result_of_another_replica_is_named_and_not_run_here(client, home, room) -> None:
    job = client.post("/jobs", content=HEAD + LINE, headers=CSV).json()
    ended(client, job["id"])
    (home.jobs / ".place").write_text("elsewhere")
    told = client.get(f"/jobs/{job['id']}/result")
    assert told.status_code == 421
    assert "replica here" in told.json()["error"]


def test_a_rerun_uses_the_model_that_was_pinned(home, stored, room) -> None:
    files = room.files
    (home.jobs / "j").mkdir(parents=True)
    folder = files.pin("j", home.champion)
    store(home, "2", seed=2)
    assert files.pin("j", home.champion) == folder
    assert json.loads((folder / "hashes.json").read_text())["version"] == "1"


@pytest.mark.parametrize("method", ["get", "post"])
def test_without_a_room_there_are_no_jobs(home, stored, method: str) -> None:
    with TestClient(create_app(home)) as client:
        assert getattr(client, method)("/jobs").status_code == 404
        assert "/jobs" not in client.get("/openapi.json").json()["paths"]
