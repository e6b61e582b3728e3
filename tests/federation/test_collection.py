"""One message to every site: whatever a site or the transport does, the wait ends and names it."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federation.faulty import (
    NOW,
    STUDY,
    Clock,
    Counting,
    Deaf,
    Faulty,
    Late,
    Roll,
    Sequence,
    Slow,
    Working,
    altered,
    at,
    crash,
    error,
    make_broadcast,
    rewritten,
    silent,
    with_arrays,
    write_sites,
)
from flwr.app import Array, ArrayRecord, Message
from flwr.common.constant import ErrorCode
from flwr.supercore.run import RunNotRunningException
from flwr.superlink.grid.http_grid import HttpGrid

from fedrisk.errors import HomeError, QuorumError, SiteRefusedError
from fedrisk.federation import collection, transport
from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.collection import LOST, Collection, site_of
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.membership import Roster
from fedrisk.federation.query import Query, Reply

SUMMARY = Query("summary", STUDY, "r1", NOW.isoformat())


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sites")
    written = write_sites(folder, {"north": 300, "south": 200, "west": 150})
    ask(InMemoryGrid(written), written, deadline=600.0)  # what is imported once is not waited for
    return written


def ask(grid: InMemoryGrid, sites: Iterable[str], **changes: object) -> tuple[Broadcast, list]:
    broadcast = make_broadcast(grid, sites, **changes)
    return broadcast, broadcast.ask(SUMMARY)


def named(broadcast: Broadcast) -> dict[str, str]:
    """Who was dropped by the last round, and why."""
    return broadcast.rounds[-1].dropped


def call_it(name: str):
    return rewritten(lambda content: content.config_records["site"].update({"name": name}))


def drop(record: str):
    return rewritten(lambda content: content.pop(record))


def study_hash(content: Any) -> None:
    content.config_records["site"]["study-hash"] = "0" * 64


def no_study_hash(content: Any) -> None:
    del content.config_records["site"]["study-hash"]


def no_rows(content: Any) -> None:
    del content.config_records["site"]["rows"]


def garbage(_grid: Any, asked: Message, reply: Message, _number: int) -> Message:
    ((layout, array),) = reply.content.array_records["arrays"].items()
    broken = Array(array.dtype, array.shape, array.stype, b"\x93NUMPY garbage")
    reply.content.array_records["arrays"][layout] = broken
    return reply


def unknown_record(_grid: Any, asked: Message, reply: Message, _number: int) -> Message:
    return with_arrays(asked, reply, {"rows_of_patients/age": np.ones(3)})


def words(_grid: Any, asked: Message, reply: Message, _number: int) -> Message:
    reply.content["arrays"] = ArrayRecord({"feature_summary/rows:1": Array(np.array(["many"]))})
    return reply


FAULTS = {
    "silent": (silent, "'west' did not answer within 0.4 s"),
    "crash": (crash, "failed: MemoryError: out"),
    "app cannot be loaded": (error(ErrorCode.LOAD_CLIENT_APP_EXCEPTION, ""), "failed: no reason"),
    "crashes each time": (
        error(ErrorCode.CLIENT_APP_CRASHED, "killed"),
        r"within .* s \(node 3: killed\)",
    ),
    "another study": (rewritten(study_hash), "'west' answers about another study: 0000"),
    "no study": (rewritten(no_study_hash), "'west' answers about another study: it names none"),
    "unknown record": (unknown_record, r"sent \['rows_of_patients'\]"),
    "no name": (drop("site"), "sent no readable answer"),
    "no arrays": (drop("arrays"), "'west' sent no readable answer"),
    "no figures": (rewritten(no_rows), "'west' sent no readable answer"),
    "garbage": (garbage, "'west' sent no readable answer"),
    "words": (words, "'west' sent no readable answer"),
    "NaN": (altered("feature_summary/sums", lambda a: a * np.nan), "'west'.*not finite"),
    "infinite": (altered("feature_summary/rows", lambda a: a * np.inf), "'west'.*not finite"),
    "wrong shape": (altered("feature_summary/sums", lambda a: a[:1]), "'west'.*has shape"),
    "negative counts": (altered("feature_summary/levels", lambda a: -a), "levels holds no counts"),
    "half a person": (altered("site_counts/test", lambda a: a + 0.5), "test is no count"),
    "more events": (altered("feature_summary/events", lambda a: a + 999), "more events than rows"),
    "other rows": (altered("site_counts/train", lambda a: a + 1), "rows are not the sum"),
    "squares": (altered("feature_summary/squares", lambda a: a * 0), "squares of 'age' are too"),
    "out of bounds": (altered("feature_summary/sums", lambda a: a + 1e6), "'age' is outside"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_site_is_named_and_the_others_go_on(sites: dict[str, Path], name: str) -> None:
    fault, reason = FAULTS[name]
    broadcast, replies = ask(Faulty(sites, {"west": fault}), sites, quorum=2)
    assert [reply.site for reply in replies] == ["north", "south"]
    assert broadcast.roster.active == ("north", "south")
    (text,) = named(broadcast).values()
    assert re.search(reason, text), text


def test_faults_beyond_the_quorum_end_the_run(sites: dict[str, Path]) -> None:
    with pytest.raises(QuorumError, match=r"2 of the 3 sites .* 'west' did not answer"):
        ask(Faulty(sites, {"west": silent}), sites)


def test_refusals_alone_end_the_run_as_refusals(sites: dict[str, Path]) -> None:
    grid = Faulty(sites, {"west": at(2, crash), "south": at(2, crash)})
    broadcast, _ = ask(grid, sites, quorum=2)
    with pytest.raises(SiteRefusedError, match=r"1 of the 2 .* failed: MemoryError: out"):
        broadcast.ask(SUMMARY)


@pytest.mark.parametrize("code", sorted(LOST))
def test_lost_messages_are_asked_again(sites: dict[str, Path], code: int) -> None:
    grid = Faulty(sites, {"west": at(1, error(code, "lost"), last=2)})
    broadcast, replies = ask(grid, sites, deadline=5.0)
    assert len(replies) == 3
    assert grid.heard == {"north": ["summary"], "south": ["summary"], "west": ["summary"] * 3}
    assert not named(broadcast)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(collection, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("deadline", "times"),
    [(600.0, [0, 20, 80, 260]), (79.0, [0, 20]), (30.0, [0, 15]), (20.0, [0, 10])],
)
def test_a_silent_site_is_asked_again_soon_then_less_often_and_never_past_the_deadline(
    sites: dict[str, Path], clock: Clock, deadline: float, times: list[int]
) -> None:
    grid = Deaf(sites, {3}, clock)
    asked = collection_of(grid, sites, deadline)
    asked.run()
    assert [time for time, _ in grid.asked] == times
    assert {until for _, until in grid.asked} == {deadline}
    assert clock.now == pytest.approx(deadline)
    assert set(asked.faults) == {"west"}


def test_a_site_that_works_longer_is_given_the_time_it_took(
    sites: dict[str, Path], clock: Clock
) -> None:
    """Asked again while it works, it would work twice for each of the questions."""
    grid = Working(sites, {3}, clock, 30.0)
    first = collection_of(grid, sites, 600.0)
    for expected in (4, 7, 10):
        asked = collection_of(grid, sites, 600.0)
        asked.roster = first.roster
        asked.run()
        assert set(asked.replies) == set(sites)
        assert len(grid.ready) == expected


def test_a_stranger_s_failure_ends_no_wait_for_a_site_that_connects_late(
    sites: dict[str, Path], clock: Clock
) -> None:
    grid = Late({**sites, "stranger": sites["west"]}, {"stranger": crash}, 3, looks=18)
    asked = collection_of(grid, sites, 600.0)
    asked.run()
    assert set(asked.replies) == set(sites)
    assert clock.now == pytest.approx(9.0)


def test_where_every_node_has_settled_a_site_that_is_away_is_not_waited_for_to_the_end(
    sites: dict[str, Path], clock: Clock
) -> None:
    asked = collection_of(Faulty(sites, {"west": crash}), sites, 600.0)
    asked.run()
    assert clock.now == pytest.approx(10.0)
    assert "node 3 failed: MemoryError" in asked.faults["west"].message


def collection_of(grid: InMemoryGrid, sites: Iterable[str], deadline: float) -> Collection:
    """A summary asked of these sites, looking for answers twice a second."""
    roster = Roster.of(tuple(sites), 2)

    def make(node: int, seconds: float) -> Message:
        return Message(SUMMARY.content(), node, "query.summary", group_id="1", ttl=seconds)

    return Collection(grid, roster, make, lambda m: Reply("", {}, 0), deadline, 0.5)


def test_a_silent_site_is_asked_once_more(sites: dict[str, Path]) -> None:
    grid = Faulty(sites, {"west": at(1, silent, last=1)})
    _, replies = ask(grid, sites, deadline=2.0)
    assert len(replies) == 3
    assert len(grid.heard["west"]) == 2


def test_a_slow_site_is_waited_for_and_its_second_answer_ignored(sites: dict[str, Path]) -> None:
    _, replies = ask(Slow(sites, {"west": 20}), sites, deadline=10.0)
    assert [reply.site for reply in replies] == ["north", "south", "west"]


def test_answers_that_come_twice_count_once(sites: dict[str, Path]) -> None:
    class Twice(InMemoryGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            return [reply for reply in super().pull_messages(message_ids) for _ in range(2)]

    broadcast, replies = ask(Twice(sites), sites)
    assert [reply.site for reply in replies] == ["north", "south", "west"]
    assert not named(broadcast)


def test_a_known_site_that_answers_in_another_s_name_is_the_one_to_go(
    sites: dict[str, Path],
) -> None:
    broadcast, _ = ask(Faulty(sites, {"west": at(2, call_it("north"))}), sites, quorum=2)
    replies = broadcast.ask(SUMMARY)
    assert [reply.site for reply in replies] == ["north", "south"]
    assert named(broadcast) == {"west": "site 'west' calls itself 'north'"}


def test_of_two_nodes_with_one_name_neither_is_believed(sites: dict[str, Path]) -> None:
    grid = Faulty(sites, {"west": call_it("north")})
    broadcast, replies = ask(grid, ("north", "south"), quorum=1)
    assert [reply.site for reply in replies] == ["south"]
    assert named(broadcast) == {"north": "two sites call themselves north"}


def test_who_was_known_before_is_believed_over_a_newcomer_of_its_name(
    sites: dict[str, Path],
) -> None:
    broadcast = make_broadcast(Faulty(sites, {"west": call_it("north")}), ("north", "south"))
    broadcast.roster.nodes = {1: "north"}
    assert [reply.site for reply in broadcast.ask(SUMMARY)] == ["north", "south"]


def test_strangers_take_no_part(sites: dict[str, Path]) -> None:
    for fault in (crash, None):
        grid = Faulty(sites, {} if fault is None else {"west": fault})
        broadcast, replies = ask(grid, ("north", "south"))
        assert [reply.site for reply in replies] == ["north", "south"]
        assert not named(broadcast)


def test_a_missing_site_s_reason_names_the_strangers(sites: dict[str, Path]) -> None:
    broadcast, _ = ask(InMemoryGrid(sites), ("east", "north", "south"), quorum=2)
    assert "node 3 is no site of this run" in named(broadcast)["east"]


def none_for_the_first(call: Any) -> list[str | None]:
    return [None, *list(call())[1:]]


def fail(_call: Any) -> Any:
    raise ConnectionError("refused")


@pytest.mark.parametrize(
    "steps",
    [
        {"push_messages": [none_for_the_first, none_for_the_first]},
        {"push_messages": [lambda _: [], lambda _: None]},
        {"push_messages": [fail]},
        {"get_node_ids": [fail, lambda _: []]},
        {"get_node_ids": [lambda _: [1], lambda _: [1, 2]]},
        {"pull_messages": [fail]},
        {"pull_messages": [fail, fail, fail]},
        {name: [fail] * 2 for name in ("get_node_ids", "push_messages", "pull_messages")},
    ],
    ids=lambda steps: "-".join(steps),
)
def test_a_transport_that_fails_for_a_while_is_tried_again(
    sites: dict[str, Path], steps: dict[str, list]
) -> None:
    broadcast, replies = ask(Sequence(sites, steps), sites, deadline=5.0)
    assert [reply.site for reply in replies] == ["north", "south", "west"]
    assert not named(broadcast)


@pytest.mark.parametrize("name", ["get_node_ids", "push_messages", "pull_messages"])
def test_a_transport_that_never_works_ends_at_the_deadline(
    sites: dict[str, Path], name: str
) -> None:
    with pytest.raises(
        QuorumError, match=r"did not answer within 0.2 s \(.*ConnectionError\('refused'\)"
    ):
        ask(Sequence(sites, {name: [fail] * 10_000}), sites, deadline=0.2)


@pytest.fixture
def hangs() -> Iterator[Any]:
    """A step of the grid that does not end before the test does."""
    over = threading.Event()

    def hang(call: Any) -> Any:
        over.wait(60)
        return call()

    yield hang
    over.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of the grid is left behind soon."""
    monkeypatch.setattr(transport, "CALL_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", ["get_node_ids", "push_messages", "pull_messages"])
def test_a_transport_that_hangs_for_ever_ends_at_the_deadline(
    sites: dict[str, Path], hangs: Any, name: str
) -> None:
    grid = Sequence(sites, {name: [hangs] * 1000})
    with pytest.raises(QuorumError, match=r"'north' did not answer within 0\.3 s \(.+\)"):
        ask(grid, sites, deadline=0.3)


class Stuck(InMemoryGrid):
    """Fetching the answer of node 3 does not end, whatever is fetched beside it is lost."""

    def __init__(self, sites: dict[str, Path], hang: Any) -> None:
        super().__init__(sites)
        self.hang = hang

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        wanted = [i for i in message_ids if i in self._replies]
        if any(self._replies[i].metadata.src_node_id == 3 for i in wanted):
            return self.hang(lambda: InMemoryGrid.pull_messages(self, wanted))
        return super().pull_messages(wanted)


@pytest.mark.usefixtures("impatient")
def test_a_site_whose_answer_cannot_be_fetched_holds_up_nobody_and_is_named(
    sites: dict[str, Path], hangs: Any
) -> None:
    broadcast, replies = ask(Stuck(sites, hangs), sites, quorum=2, deadline=2.0)
    assert [reply.site for reply in replies] == ["north", "south"]
    assert "fetching its answer does not end" in named(broadcast)["west"]


@pytest.mark.usefixtures("impatient")
def test_what_a_call_brings_after_it_was_left_behind_is_taken(sites: dict[str, Path]) -> None:
    ends: list[threading.Event] = []

    def late(call: Any) -> Any:
        """Ends when the next call of its kind begins, or the one after."""
        for event in ends:
            event.set()
        ends.append(threading.Event())
        if len(ends) == 1:
            ends[0].wait(60)
        return call()

    grid = Sequence(sites, {"pull_messages": [late] * 2})
    broadcast, replies = ask(grid, sites, deadline=60.0)
    assert [reply.site for reply in replies] == ["north", "south", "west"]
    assert not named(broadcast)
    assert len(ends) == 2


def pushed_late(call: Any) -> Any:
    time.sleep(0.3)  # longer than it is waited for: a look or more goes by
    return call()


@pytest.mark.usefixtures("impatient")
def test_messages_that_are_taken_late_are_not_sent_twice(sites: dict[str, Path]) -> None:
    steps = {"push_messages": [pushed_late], "get_node_ids": [pushed_late]}
    grid = Sequence(sites, steps)
    broadcast, replies = ask(grid, sites, deadline=60.0)
    assert [reply.site for reply in replies] == ["north", "south", "west"]
    assert grid.calls["push_messages"] == 1
    assert not named(broadcast)


@pytest.mark.parametrize("name", ["get_node_ids", "push_messages", "pull_messages"])
def test_a_run_that_flower_has_ended_ends_at_once(sites: dict[str, Path], name: str) -> None:
    def ended(_call: Any) -> Any:
        raise RunNotRunningException

    grid = Sequence(sites, {name: [ended] * 1000})
    with pytest.raises(RunNotRunningException):
        ask(grid, sites, deadline=600.0)
    assert grid.calls[name] == 1


def test_flower_s_own_grid_that_reaches_no_superlink_ends_at_the_deadline(
    sites: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its retries have no end of their own."""
    monkeypatch.setattr(transport, "CALL_SECONDS", 0.2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        grid = HttpGrid(f"127.0.0.1:{taken.getsockname()[1]}", insecure=True, token="none")
        with pytest.raises(QuorumError, match=r"within 0\.3 s \(TimeoutError\("):
            ask(grid, sites, deadline=0.3)  # type: ignore[arg-type]
        grid.close()


def test_a_removed_site_is_let_go_at_once(sites: dict[str, Path]) -> None:
    """Nobody waits for it: the deadline here is ten minutes."""
    grid = Faulty(sites, {"west": silent})
    asked = collection_of(grid, sites, 600.0)
    asked.roster.nodes = {1: "north", 2: "south", 3: "west"}
    asked.judge = lambda message: Reply(str(site_of(message)), {}, 0)
    asked.poll_seconds = 0.001
    asked.removed = lambda: frozenset({"west", "away"}) if grid.heard["west"] else frozenset()
    asked.run()
    assert set(asked.replies) == {"north", "south"}
    assert {site: fault.message for site, fault in asked.faults.items()} == {
        "west": "site 'west' was removed from the federation"
    }


def test_an_answer_that_came_before_its_site_was_removed_counts(sites: dict[str, Path]) -> None:
    asked = collection_of(InMemoryGrid(sites), sites, 600.0)
    asked.removed = lambda: frozenset({"west"}) if "west" in asked.replies else frozenset()
    asked.run()
    assert set(asked.replies) == set(sites)
    assert not asked.faults


def test_the_coordinator_s_own_fault_is_blamed_on_no_site(sites: dict[str, Path]) -> None:
    def full(_message: Message) -> Reply:
        raise HomeError("no space left")

    asked = collection_of(InMemoryGrid(sites), sites, 600.0)
    asked.judge = full
    with pytest.raises(HomeError, match="no space left"):
        asked.run()
    assert not asked.faults


def test_no_node_at_all_is_said(sites: dict[str, Path]) -> None:
    with pytest.raises(QuorumError, match="no site is connected"):
        ask(InMemoryGrid({}), (), deadline=0.05)


def test_a_reply_that_breaks_the_transport_is_its_site_s_fault(
    sites: dict[str, Path], clock: Clock
) -> None:
    class Breaks(InMemoryGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            wanted = [i for i in message_ids if i in self._replies]
            if any(self._replies[i].metadata.src_node_id == 3 for i in wanted):
                raise ValueError("cannot be inflated")
            return super().pull_messages(wanted)

    broadcast, replies = ask(Breaks(sites), sites, quorum=2, deadline=60.0)
    assert [reply.site for reply in replies] == ["north", "south"]
    assert "node 3 sent no readable answer: ValueError('cannot" in named(broadcast)["west"]


def test_a_run_without_names_takes_whoever_is_connected(sites: dict[str, Path]) -> None:
    broadcast, _ = ask(Faulty(sites, {"west": silent}), (), quorum=2)
    assert broadcast.roster.active == ("north", "south")
    assert list(named(broadcast)) == ["node 3"]


def test_a_run_without_names_waits_for_its_quorum(sites: dict[str, Path]) -> None:
    steps = {"get_node_ids": [lambda _: [], lambda _: [1], lambda _: [1, 2]]}
    broadcast, _ = ask(Sequence(sites, steps), (), quorum=3, deadline=5.0)
    assert broadcast.roster.active == ("north", "south", "west")


def test_registered_names_say_who_a_node_is_before_it_has_answered(sites: dict[str, Path]) -> None:
    names = {1: "north", 2: "south", 3: "west", 9: "away"}
    for asked in ((), tuple(sites)):
        broadcast = make_broadcast(InMemoryGrid(sites), asked)
        broadcast.roster.nodes = dict(names)
        assert [reply.site for reply in broadcast.ask(SUMMARY)] == ["north", "south", "west"]
        assert not named(broadcast)


def test_long_reasons_are_cut(sites: dict[str, Path]) -> None:
    grid = Faulty(sites, {"west": error(ErrorCode.MOD_FAILED_PRECONDITION, "x" * 10_000)})
    broadcast, _ = ask(grid, sites, quorum=2)
    assert len(named(broadcast)["west"]) < 2 * collection.LONGEST_REASON


def test_the_work_of_a_look_does_not_grow_with_the_square_of_the_sites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sites = {node: f"site {node:03d}" for node in range(1, 501)}
    monkeypatch.setattr(collection, "site_of", lambda message: sites[message.metadata.src_node_id])
    monkeypatch.setattr(Message, "has_error", lambda _: False)
    grid, roster = Counting(500, at_once=25), Roster(500, tuple(sites.values()), Roll())
    Roll.passes = 0

    def make(node: int, _seconds: float) -> Message:
        return Message(SUMMARY.content(), node, "query.summary", group_id="1")

    asked = Collection(grid, roster, make, lambda m: Reply("", {}, 0), 60.0, 0.0)
    asked.run()
    assert len(asked.replies) == 500
    assert grid.pushed == 500
    assert Roll.passes < 60  # 20 looks, a few passes each


def test_the_first_answer_of_a_site_that_was_asked_twice_counts(sites: dict[str, Path]) -> None:
    """Both arrive together; what its app did with the second question changes nothing."""
    kept: list[Message] = []

    def late(grid: Faulty, asked: Message, reply: Message, number: int) -> Message | None:
        if number == 1:
            kept.append(reply)
            return None
        grid._replies[kept[0].metadata.reply_to_message_id] = kept[0]
        return crash(grid, asked, reply, number)

    broadcast, replies = ask(Faulty(sites, {"west": late}), sites, deadline=2.0)
    assert [reply.site for reply in replies] == ["north", "south", "west"]
    assert not named(broadcast)


def test_a_site_whose_folder_cannot_be_opened_is_named_with_its_reason(
    sites: dict[str, Path], tmp_path: Path
) -> None:
    grid = InMemoryGrid(sites)
    ask_all = make_broadcast(grid, sorted(sites), quorum=1)
    ask_all.ask(SUMMARY)  # from here on each node is known by its name
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "site.toml").write_text(f'site = "north"\ndata = "{sites["north"]}"\n', "utf-8")
    (folder / "policy.toml").write_text("minimum_rowz = 1\n", encoding="utf-8")
    for context in grid._contexts.values():
        if context.node_config["site"] == "north":
            context.node_config = {**context.node_config, "folder": str(folder)}
    ask_all.ask(SUMMARY)
    assert "folder, policy or log cannot be used" in named(ask_all)["north"]
    assert "calls itself" not in named(ask_all)["north"]
