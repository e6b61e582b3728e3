"""Retrainings, verdicts, alerts, runs on a real PostgreSQL: two at once, and restarts between."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from subprocess import PIPE
from typing import Any

import pytest
from postgresql import PostgreSQL, needs_postgresql, postgresql
from retraining.worlds import PLAN, START

from fedrisk.errors import FedriskError, FencedError, RetrainingError
from fedrisk.monitoring.alerts.alert import Alert
from fedrisk.monitoring.alerts.store import AlertStore, Standing
from fedrisk.monitoring.memory import Memory
from fedrisk.monitoring.store import VerdictStore
from fedrisk.retraining.lease import Lease, held
from fedrisk.retraining.loop import Approval, Loop, Transition
from fedrisk.retraining.loop_store import LoopStore, check_chain
from fedrisk.retraining.running import begin, new_loop
from fedrisk.retraining.watch_store import LastRun, WatchStore

pytestmark = needs_postgresql
TO_APPROVAL = ("frozen", "trained", "gated", "registered", "shadow", "awaiting approval")


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


@pytest.fixture
def scope(request: pytest.FixtureRequest) -> str:
    """A model of the test's own in the one database."""
    return str(request.node.name)


@pytest.fixture
def stores(database: PostgreSQL) -> Iterator[tuple[LoopStore, LoopStore]]:
    """As two processes have them: each with connections of its own."""
    pair = LoopStore(database.url), LoopStore(database.url)
    yield pair
    for each in pair:
        each.close()


def now() -> datetime:
    return datetime.now(UTC)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What calls that begin together return or raise."""
    barrier, found = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number: int, call: Callable[[], Any]) -> None:
        barrier.wait(10)
        try:
            found[number] = call()
        except FedriskError as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    return found


def step(loop: Loop, state: str, lease: Lease) -> Transition:
    evidence = {"because": ["\u00e9", 1.5, None]}
    return Transition(loop.number + 1, loop.state, state, START, lease.fence, "why", evidence)  # type: ignore[arg-type]


def to_approval(store: LoopStore, lease: Lease, loop: Loop) -> Loop:
    for state in TO_APPROVAL:
        spent = {"rows": 3} if state == "gated" else None
        loop = store.advance(loop, lease, step(loop, state, lease), spent)
    return loop


def test_of_many_that_take_a_lease_at_once_one_has_it(stores, scope) -> None:
    for turn in range(1, 6):
        takes = [
            lambda who=who, store=store: store.take(scope, who, START, 60.0)
            for who, store in zip("abcd", stores * 2, strict=True)
        ]
        found = at_once(*takes)
        (lease,) = [each for each in found if isinstance(each, Lease)]
        assert lease.fence == turn
        assert all(type(each) is RetrainingError for each in found if each is not lease)
        stores[0].let_go(lease)


def test_one_retraining_is_open_whoever_begins_it(stores, scope) -> None:
    lease = stores[0].take(scope, "a", START, 60.0)
    loops = [new_loop(store, scope, "drift", PLAN, START) for store in stores]
    first, second = stores
    found = at_once(lambda: first.begin(loops[0], lease), lambda: second.begin(loops[1], lease))
    assert found.count(None) == 1, found
    (refused,) = [each for each in found if each is not None]
    assert "open already" in refused.message
    assert [each.id for each in first.listed(scope)] == [loops[found.index(None)].id]


def test_a_step_is_taken_once_and_leaves_a_whole_chain(stores, scope) -> None:
    first, second = stores
    lease = first.take(scope, "a", START, 60.0)
    loop = begin(first, lease, "drift", PLAN, START)
    found = at_once(
        lambda: first.advance(loop, lease, step(loop, "frozen", lease), {"rows": 1}),
        lambda: second.advance(loop, lease, step(loop, "closing", lease), {"rows": 2}),
    )
    (after,) = [each for each in found if isinstance(each, Loop)]
    (late,) = [each for each in found if isinstance(each, FencedError)]
    assert "taken further" in late.message
    assert second.find(loop.id) == after
    assert first.spent(scope) == [{"rows": 1 if after.state == "frozen" else 2}]
    check_chain(first.transitions(loop.id))


def test_a_holder_that_was_followed_writes_nothing_more(stores, scope) -> None:
    first, second = stores
    old = first.take(scope, "here:1", START, 60.0)
    loop = begin(first, old, "drift", PLAN, START)
    assert not second.idle(scope, START)
    new = second.take(scope, "here:2", START, 60.0, forfeit="here:")
    for write in (
        lambda: first.advance(loop, old, step(loop, "frozen", old)),
        lambda: first.explain(loop, old, "still here"),
        lambda: first.renew(old, START, 60.0),
    ):
        with pytest.raises(FencedError):
            write()
    first.let_go(old)
    assert not first.idle(scope, START)
    assert first.idle(scope, START + timedelta(seconds=61))
    second.let_go(new)
    assert first.idle(scope, START)


def test_of_answers_at_once_the_first_counts(stores, scope) -> None:
    first, second = stores
    lease = first.take(scope, "a", START, 60.0)
    loop = to_approval(first, lease, begin(first, lease, "drift", PLAN, START))
    yes, no = Approval(True, "x", START), Approval(False, "y", START, "no")
    found = at_once(lambda: first.answer(loop.id, yes), lambda: second.answer(loop.id, no))
    (kept,) = [each for each in found if isinstance(each, Loop)]
    (refused,) = [each for each in found if isinstance(each, RetrainingError)]
    assert "an answer already" in refused.message
    assert kept.approval == (yes if found[0] is kept else no)
    assert first.find(loop.id).approval == kept.approval


def test_a_retraining_that_ended_takes_no_answer(stores, scope) -> None:
    store = stores[0]
    lease = store.take(scope, "a", START, 60.0)
    loop = begin(store, lease, "drift", PLAN, START)
    for state in ("closing", "done"):
        loop = store.advance(loop, lease, step(loop, state, lease))
    with pytest.raises(RetrainingError, match="it is done"):
        store.answer(loop.id, Approval(True, "x", START))
    assert store.current(scope) is None
    assert not store.idle(scope, START + timedelta(days=1))


@pytest.mark.parametrize("identifier", ["none", "a\x00b", "x" * 500])
def test_an_answer_for_no_retraining_says_so(stores, identifier: str) -> None:
    with pytest.raises(RetrainingError, match="no retraining"):
        stores[0].answer(identifier, Approval(True, "x", START))
    assert stores[0].find(identifier) is None


def test_a_restart_in_the_middle_loses_nothing(database, stores, scope) -> None:
    store = stores[0]
    lease = store.take(scope, "a", START, 60.0)
    loop = begin(store, lease, "drift", PLAN, START)
    for number, state in enumerate(TO_APPROVAL):
        if number % 2:
            database.restart()
        loop = store.advance(loop, lease, step(loop, state, lease))
    database.stop()
    with pytest.raises(FedriskError, match="cannot be written"):
        store.advance(loop, lease, step(loop, "canary", lease))
    database.start()
    assert store.find(loop.id) == loop
    assert store.advance(loop, lease, step(loop, "canary", lease)).state == "canary"
    check_chain(store.transitions(loop.id))


HOLD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from fedrisk.retraining.lease import held
from fedrisk.retraining.loop_store import LoopStore
url, scope, home = sys.argv[1:]
with held(LoopStore(url), scope, Path(home), lambda: datetime.now(UTC)) as lease:
    print(lease.fence, flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_of_another_home_is_waited_for_until_its_lease_ends(
    database, stores, scope, tmp_path
) -> None:
    far = tmp_path / "far"
    far.mkdir()
    command = [sys.executable, "-c", HOLD, database.url, scope, str(far)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        with pytest.raises(RetrainingError, match="far"), held(stores[0], scope, tmp_path, now):
            pass
        process.kill()
    with pytest.raises(RetrainingError, match="far"), held(stores[0], scope, tmp_path, now):
        pass
    with held(stores[0], scope, tmp_path, lambda: now() + timedelta(seconds=61)) as lease:
        assert lease.fence == 2


def test_what_was_done_counts_though_the_database_is_away_at_the_end(
    database, stores, scope, tmp_path
) -> None:
    with held(stores[0], scope, tmp_path, now):
        database.stop()
    database.start()
    with held(stores[0], scope, tmp_path, now) as lease:
        assert lease.fence == 2


def test_last_runs_are_written_by_two_at_once(database, scope) -> None:
    pair = WatchStore(database.url, scope), WatchStore(database.url, scope)
    runs = [LastRun(START, START + timedelta(seconds=number), number) for number in range(10)]
    writes = [lambda each=each: pair[each.code % 2].keep("drift", each) for each in runs]
    assert at_once(*writes) == [None] * 10
    assert pair[0].last("drift") in runs
    database.restart()
    pair[1].keep("drift", LastRun(START))
    assert pair[0].last("drift") == LastRun(START)
    assert pair[0].last("retrain") is None
    for each in pair:
        each.close()


def test_alerts_are_written_by_two_at_once(database, scope) -> None:
    pair = AlertStore(database.url, scope), AlertStore(database.url, scope)
    alerts = [Alert("quality", f"s{number}", "high", "broken") for number in range(8)]
    seen = [Standing(each, "drift", START, START, None, "", 1, active=True) for each in alerts]
    writes = [
        lambda number=number: pair[number % 2].keep(seen if number < 4 else seen[::-1])
        for number in range(8)
    ]
    assert at_once(*writes) == [None] * 8
    assert {each.alert.key: each for each in pair[0].all()} == {e.alert.key: e for e in seen}
    database.restart()
    pair[0].keep([replace(each, active=False) for each in seen[:3]])
    assert pair[1].forget_before(START + timedelta(seconds=1)) == 3
    assert len(pair[0].all()) == 5
    for each in pair:
        each.close()


class Judged:
    """A verdict, as far as the store looks at it."""

    def __init__(self, number: int) -> None:
        self.at, self.status = START + timedelta(days=number), "stable"
        self.memory = Memory()

    def document(self) -> dict[str, Any]:
        return {"at": self.at.isoformat(), "verdict": self.status}


def test_verdicts_are_kept_by_two_at_once(database, scope) -> None:
    pair = VerdictStore(database.url), VerdictStore(database.url)
    adds = [
        lambda number=number: pair[number % 2].add(scope, "1", Judged(number // 2))  # type: ignore[arg-type]
        for number in range(8)
    ]
    assert at_once(*adds) == [None] * 8
    database.restart()
    assert [each["at"] for each in pair[0].verdicts(scope)] == [
        (START + timedelta(days=number)).isoformat() for number in (3, 2, 1, 0)
    ]
    assert pair[1].memory(scope, "1") == Memory()
    assert pair[1].forget_before(START + timedelta(days=2)) == 2
    for each in pair:
        each.close()
