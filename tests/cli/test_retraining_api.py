"""Retrainings over HTTP: an administrator's key answers, once, and its name is kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from retraining.worlds import PLAN, SCOPE, START

from fedrisk.cli.retraining_api import add_retrainings
from fedrisk.home import Home
from fedrisk.retraining.loop import Transition
from fedrisk.retraining.loop_store import LoopStore
from fedrisk.retraining.running import begin
from fedrisk.serving.access import Guard
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.app import create_app

from ..serving.conftest import TestClient

NOW = datetime(2026, 1, 5, tzinfo=UTC)
WAY = ("frozen", "trained", "gated", "registered", "shadow", "awaiting approval")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


@pytest.fixture
def keys(home: Home) -> dict[str, str]:
    made = {name: make_key(name, [name], NOW) for name in ("admin", "predict")}
    write_keys(home.keys, KeyRing({key.id: key for key, _ in made.values()}))
    return {name: f"Bearer {secret}" for name, (_, secret) in made.items()} | {
        "id": made["admin"][0].id
    }


@pytest.fixture
def waiting(home: Home) -> str:
    """A retraining that waits for approval; its id."""
    store = LoopStore(f"sqlite:///{home.state}")
    lease = store.take(SCOPE, "here:1", START, 60.0)
    loop = begin(store, lease, "drift", PLAN, START)
    for state in WAY:
        step = Transition(loop.number + 1, loop.state, state, START, 1, f"{state} is so")  # type: ignore[arg-type]
        loop = store.advance(loop, lease, step)
    store.close()
    return loop.id


@pytest.fixture
def client(home: Home, keys: dict[str, str]) -> Iterator[TestClient]:
    guard = Guard(home.keys, None, lambda: NOW)
    app = create_app(home, guard=guard)
    add_retrainings(app, f"sqlite:///{home.state}", guard, lambda: NOW)
    with TestClient(app, headers={"Authorization": keys["admin"]}) as client:
        yield client


def test_what_waits_is_listed_and_told_with_its_steps(client: TestClient, waiting: str) -> None:
    (listed,) = client.get("/retrainings").json()["retrainings"]
    assert (listed["id"], listed["state"], listed["model"]) == (waiting, WAY[-1], SCOPE)
    told = client.get(f"/retrainings/{waiting}").json()
    assert [step["state"] for step in told["steps"]] == list(WAY)
    assert client.get("/retrainings/other").status_code == 404


@pytest.mark.parametrize(("answer", "approved"), [("approve", True), ("reject", False)])
def test_the_first_answer_counts_and_is_its_keys(
    client, keys, waiting, home, answer, approved
) -> None:
    told = client.post(f"/retrainings/{waiting}/{answer}", json={"reason": "read the report"})
    assert told.json()["approval"] == {
        "approved": approved,
        "by": f"key {keys['id']}",
        "at": NOW.isoformat(),
        "reason": "read the report",
    }
    second = client.post(f"/retrainings/{waiting}/approve")
    assert second.status_code == 409
    assert "it has an answer already" in second.json()["error"]
    store = LoopStore(f"sqlite:///{home.state}")
    assert store.find(waiting).approval.approved is approved
    store.close()


def test_nobody_else_may_look_or_answer(client: TestClient, keys, waiting: str) -> None:
    for method, path in (
        ("GET", "/retrainings"),
        ("GET", f"/retrainings/{waiting}"),
        ("POST", f"/retrainings/{waiting}/approve"),
        ("POST", f"/retrainings/{waiting}/reject"),
    ):
        for given, status in ((keys["predict"], 403), ("", 401)):
            answer = client.request(method, path, headers={"Authorization": given})
            assert answer.status_code == status
    assert client.get(f"/retrainings/{waiting}").json()["approval"] is None


LONG = b'{"reason": "%b"}' % (b"x" * 3000)


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"1", b'{"reason": 1}', b'{"by": "me"}', rb'{"reason": "a\u0000b"}', LONG],
    ids=lambda body: body[:9],
)
def test_what_is_no_answer_answers_nothing(client: TestClient, waiting: str, body: bytes) -> None:
    answer = client.post(f"/retrainings/{waiting}/approve", content=body)
    assert answer.status_code == 400
    assert client.post(f"/retrainings/{waiting}/approve", content=b"x" * 20_000).status_code == 413
    assert client.get(f"/retrainings/{waiting}").json()["approval"] is None


def test_without_keys_there_are_no_such_paths(home: Home, waiting: str) -> None:
    app = create_app(home)
    add_retrainings(app, f"sqlite:///{home.state}", None, lambda: NOW)
    with TestClient(app) as client:
        assert client.post(f"/retrainings/{waiting}/approve").status_code == 404
