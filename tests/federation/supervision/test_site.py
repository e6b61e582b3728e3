"""A site's SuperNode: when it is connected, which key it shows, what is said of a failure."""

from __future__ import annotations

import io
import logging
import os
import random
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from flwr.app import Message, RecordDict
from flwr.common import constant
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.retry.http_retry import make_simple_http_retry_invoker
from flwr.supercore.run import Run, RunNotRunningException
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import start_client_internal as flower
from flwr.supernode.nodestate import NodeStateFactory

from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.federation.provisioning.site import SiteFolder
from fedrisk.federation.supervision import site as supervision_site
from fedrisk.federation.supervision.run import Supervised
from fedrisk.federation.supervision.site import Site
from fedrisk.federation.supervision.supervisor import Backoff, Supervisor

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REFUSAL = (
    "Failed to initialize the connection to the SuperLink.\n[code: 5] Failed to activate SuperNode."
)


@pytest.fixture
def folder(tmp_path: Path) -> SiteFolder:
    settings = new_settings(["127.0.0.1"], 9, listen="127.0.0.1")
    federation = Federation.create(tmp_path / "coordinator", settings, NOW)
    rows = tmp_path / "ro ws.csv"
    rows.write_text("a\n1\n")
    return SiteFolder.create(tmp_path / "north", federation.invite("north", NOW), rows)


class Watched(Site):
    """A site whose way to the coordinator is as a test says."""

    def __init__(self, folder: SiteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[dict[str, Any]] = []
        self.found = ""
        self.looks = 0
        monkeypatch.setattr(supervision_site, "fault", self.look)
        super().__init__(folder, dict(os.environ), False, self.note)
        self.logs.mkdir(parents=True)

    def look(self, superlink: str, authorities: Path, clock: Any, key: Path) -> str:
        assert (superlink, authorities.name) == ("127.0.0.1:9", "ca.crt")
        assert key == self.site.key, "the coordinator says whether it lets its owner in"
        assert clock().tzinfo is UTC
        self.looks += 1
        return self.found

    def note(self, event: str, **facts: Any) -> None:
        self.events.append({"event": event} | facts)

    def start(self) -> list[str]:
        (service,) = self.services()
        return list(service.argv())

    def writes(self, text: str) -> None:
        with (self.logs / "supernode.log").open("a") as log:
            log.write(text + "\n")

    def ends(self, text: str = "") -> None:
        """The SuperNode says this and exits; its end is looked into."""
        self.writes(text)
        self.on_exit("supernode")
        for thread in self._beside:
            thread.join(20)

    def key(self) -> str:
        words = self.start()
        return Path(words[words.index("--auth-supernode-private-key") + 1]).name


@pytest.fixture
def site(folder: SiteFolder, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(folder, monkeypatch)


def test_the_command_names_what_the_site_trusts_and_where_its_rows_are(site: Watched) -> None:
    words = site.start()
    assert words[0] == "flower-supernode"
    assert "--insecure" not in words
    told = {
        flag: words[words.index(flag) + 1]
        for flag in ("--superlink", "--root-certificates", "--auth-supernode-private-key")
    }
    assert told == {
        "--superlink": "127.0.0.1:9",
        "--root-certificates": str(site.folder / "ca.crt"),
        "--auth-supernode-private-key": str(site.folder / "node.key"),
    }
    config = tomllib.loads(Path(words[words.index("--node-config") + 1]).read_text())
    assert config == {
        "site": "north",
        "data": str(site.folder.parent / "ro ws.csv"),
        "folder": str(site.folder),
    }


def test_it_is_connected_once_superlink_let_it_in_since_its_last_start(site: Watched) -> None:
    (service,) = site.services()
    service.argv()
    assert not service.ready()
    site.writes("Starting Flower SuperNode")
    assert not service.ready()
    site.writes("INFO :      SuperNode ID: 123")
    assert service.ready()
    service.argv()
    assert not service.ready(), "that was the former process"


def test_what_stands_in_between_is_told_once_and_reported(site: Watched) -> None:
    site.found = "127.0.0.1:9 cannot be reached: Connection refused"
    site.check_way()
    site.check_way()
    assert [one["reason"] for one in site.events] == [site.found]
    assert site.details() == {"site": "north", "superlink": "127.0.0.1:9", "fault": site.found}
    site.found = ""
    site.check_way()
    assert site.details()["fault"] == ""


def test_an_exit_is_looked_into(site: Watched) -> None:
    site.start()
    site.found = "the coordinator's certificate has expired"
    site.ends("httpx.ConnectError")
    assert site.events == [{"event": "not connected", "level": "error", "reason": site.found}]
    site.on_exit("resident")
    assert site.looks == 1


def test_a_refused_key_is_told_until_the_site_is_let_in(site: Watched) -> None:
    site.start()
    site.ends(REFUSAL)
    assert "does not accept this site's key" in site.fault
    site.check_way()
    assert "does not accept this site's key" in site.fault, "the way is open; the key is not"
    assert len(site.events) == 1
    site.on_ready("supernode")
    assert site.details()["fault"] == ""


def test_a_fault_of_the_way_explains_a_refusal(site: Watched) -> None:
    """A clock that is wrong makes SuperLink refuse a right key."""
    site.start()
    site.found = "this machine's clock is 3600 s ahead of the coordinator's"
    site.ends("Invalid SuperNode authentication")
    assert site.fault == site.found


def test_a_site_is_not_ready_while_anything_stands_in_between(
    site: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SuperNode that was connected counts as running though its coordinator is away."""
    site.on_ready("supernode")
    monkeypatch.setattr(Supervised, "ready", lambda _: True)
    assert site.ready()
    site.found = "127.0.0.1:9 cannot be reached: Connection refused"
    site.check_way()
    assert not site.ready()
    assert site._look_at < time.monotonic() + supervision_site.FAULT_SECONDS + 1, "soon again"
    site.found = ""
    site.check_way()
    assert site.ready()


def test_a_refusal_that_is_looked_into_while_the_site_is_let_in_does_not_stay(
    folder: SiteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, release = Watched(folder, monkeypatch), threading.Event()

    def slow(*_: object) -> str:
        release.wait(20)
        return ""

    monkeypatch.setattr(supervision_site, "fault", slow)
    site.start()
    site.writes(REFUSAL)
    site.on_exit("supernode")
    site.on_ready("supernode")
    release.set()
    for thread in site._beside:
        thread.join(20)
    assert site.fault == ""


@pytest.mark.parametrize("length", [0, 3_000_000])
def test_a_refusal_is_found_at_the_end_however_long_it_ran(site: Watched, length: int) -> None:
    site.start()
    site.writes("x" * length)
    site.ends("401 Unauthorized")
    assert "does not accept this site's key" in site.fault


def test_words_of_a_former_start_refuse_nothing(site: Watched) -> None:
    site.writes(REFUSAL)
    site.start()
    site.ends("Killed")
    assert site.events == []


def test_the_next_key_is_tried_when_the_old_one_is_refused_and_kept_once_let_in(
    site: Watched,
) -> None:
    site.site.next_request()
    following = (site.folder / "next.key").read_bytes()
    assert site.key() == "node.key", "the old one serves until it is refused"
    site.ends(REFUSAL)
    assert site.key() == "next.key"
    site.on_ready("supernode")
    assert (site.folder / "node.key").read_bytes() == following
    assert not (site.folder / "next.key").exists()
    assert {"event": "key changed", "site": "north"} in site.events
    assert site.key() == "node.key"


def test_a_passing_refusal_costs_no_key(site: Watched) -> None:
    """A coordinator that was restarted refuses for a minute; the next key is not approved yet."""
    site.site.next_request()
    former = (site.folder / "node.key").read_bytes()
    tried = [site.key()]
    for _ in range(3):
        site.ends(REFUSAL)
        tried.append(site.key())
    assert tried == ["node.key", "next.key", "node.key", "next.key"]
    site.ends(REFUSAL)
    assert site.key() == "node.key"
    site.on_ready("supernode")
    assert (site.folder / "node.key").read_bytes() == former
    assert (site.folder / "next.key").exists()


def test_without_a_next_key_the_one_key_is_tried_again(site: Watched) -> None:
    assert site.key() == "node.key"
    site.ends(REFUSAL)
    assert site.key() == "node.key"
    site.on_ready("supernode")
    assert [one["event"] for one in site.events] == ["not connected"]


def test_the_way_is_looked_at_now_and_then(site: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower waits for a coordinator that is away without a word."""
    site.each_tick()
    assert site.looks == 0
    site._look_at = 0.0
    site.found = "cannot be reached"
    site.each_tick()
    for thread in site._beside:
        thread.join(20)
    site.each_tick()
    assert (site.looks, site.fault) == (1, "cannot be reached")


def test_a_supernode_that_superlink_still_counts_as_connected_comes_back_soon(
    site: Watched,
) -> None:
    """Flower counts a SuperNode as gone after two heartbeats; a start is tried soon after that."""
    supervisor = site._make_supervisor(None)
    silence = constant.HEARTBEAT_DEFAULT_INTERVAL * constant.HEARTBEAT_PATIENCE
    waited, failures = 0.0, 0
    while waited < silence:
        failures += 1
        waited += supervisor.backoff.delay(failures, 0.0)
    assert waited - silence <= 15.0


def test_one_look_at_a_time(folder: SiteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    site, release = Watched(folder, monkeypatch), threading.Event()

    def slow(*_: object) -> str:
        site.looks += 1
        release.wait(20)
        return ""

    monkeypatch.setattr(supervision_site, "fault", slow)
    for _ in range(5):
        site._look_at = 0.0
        site.each_tick()
    release.set()
    for thread in site._beside:
        thread.join(20)
    assert site.looks == 1


class Started:
    """Runs nothing; keeps what it is told to start and to stop."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self, name: str, argv: Sequence[str]) -> None:
        self.told.append(f"start {name}")

    def stop(self, name: str) -> None:
        self.told.append(f"stop {name}")

    def take_exits(self) -> dict[str, int]:
        return {"supernode": 0} if self.told[-1:] == ["stop supernode"] else {}


@pytest.fixture
def started(site: Watched) -> Started:
    """The site's SuperNode, started and connected."""
    runner = Started()
    site.supervisor = Supervisor(
        site.services(), runner, site.note, lambda: 0.0, random.Random(0), Backoff()
    )
    site.supervisor.tick()
    site.writes("INFO :      SuperNode ID: 123")
    site.supervisor.tick()
    return runner


@contextmanager
def flower_log() -> Iterator[io.StringIO]:
    """What Flower logs meanwhile."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    flower.log(logging.DEBUG, "")  # Flower's logger is there from here on
    logger = logging.getLogger("flwr")
    logger.addHandler(handler)
    try:
        yield text
    finally:
        logger.removeHandler(handler)


def stopped(*_: object) -> Any:
    raise RunNotRunningException


def broken(*_: object) -> Any:
    raise OSError("no object")


def question() -> Message:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 7, 0
    message = Message(RecordDict(), 1, "query.summary")
    message.metadata.__dict__["_message_id"] = message.object_id
    return message


def flower_sends(send: Any) -> str:
    """What Flower says when it sends an answer this way."""
    objects = ObjectStoreFactory()
    state = NodeStateFactory(objectstore_factory=objects).state()
    flower._insert_message(Message(RecordDict(), reply_to=question()), state, objects.store())
    with flower_log() as text:
        flower._push_messages(state, objects.store(), send, broken)
    return text.getvalue()


def flower_takes(pull: Any) -> str:
    """What Flower says when it takes a question whose content comes this way."""
    objects = ObjectStoreFactory()
    state = NodeStateFactory(objectstore_factory=objects).state()
    state.set_node_id(1)
    state.store_run(Run.create_empty(7))
    message = question()
    tree = flower.get_object_tree(message)
    others = {"get_run": broken, "get_fab": broken, "confirm_message_received": broken}
    with flower_log() as text:
        flower._pull_and_store_message(
            state, objects.store(), {}, lambda: (message, tree),
            pull_object=pull, trusted_entities=None, **others,
        )  # fmt: skip
    return text.getvalue()


LEFT_OVER = {
    "an answer of a run that has ended": lambda: flower_sends(stopped),
    "a question of a run that has ended": lambda: flower_takes(stopped),
    "a question that came in parts": lambda: flower_takes(broken),
}


@pytest.mark.parametrize("what", LEFT_OVER)
def test_what_may_leave_an_answer_behind_restarts_the_supernode_once(
    site: Watched, started: Started, what: str
) -> None:
    site.each_tick()
    assert started.told == ["start supernode"]
    site.writes(LEFT_OVER[what]())
    site.each_tick()
    site.each_tick()
    assert started.told == ["start supernode", "stop supernode"]
    site.supervisor.tick()
    site.writes("INFO :      SuperNode ID: 123")
    site.supervisor.tick()
    site.each_tick()
    assert started.told == ["start supernode", "stop supernode", "start supernode"]
    reasons = [one["reason"] for one in site.events if one["event"] == "restarting"]
    assert reasons == ["an answer may be left over"]


def test_a_supernode_that_gave_up_for_the_certificate_is_restarted(
    site: Watched, started: Started
) -> None:
    """Flower's connection ends then, and its process stays."""
    error = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired")
    with flower_log() as text:
        assert make_simple_http_retry_invoker().should_giveup(error)
    site.writes(text.getvalue())
    site.each_tick()
    site.each_tick()
    assert started.told == ["start supernode", "stop supernode"]
    (reason,) = [one["reason"] for one in site.events if one["event"] == "restarting"]
    assert reason == "it has given the coordinator up for its certificate"


def test_an_answer_that_is_sent_or_lost_restarts_nothing(site: Watched, started: Started) -> None:
    site.writes(flower_sends(lambda *_: (set(), "")))
    site.writes(flower_sends(broken))
    site.each_tick()
    assert started.told == ["start supernode"]
