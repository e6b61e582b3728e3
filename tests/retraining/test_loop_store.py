"""The store of retrainings: compare-and-set, and a chain that shows what was changed afterwards."""

from __future__ import annotations

import pytest
import sqlalchemy as sql
from retraining.worlds import PLAN, SCOPE, START

from fedrisk.errors import FencedError, RetrainingError, UsageError
from fedrisk.retraining.loop import Approval, Transition
from fedrisk.retraining.loop_store import LoopStore, check_chain
from fedrisk.retraining.loop_tables import TRANSITIONS
from fedrisk.retraining.running import begin, new_loop


@pytest.fixture
def store(tmp_path):
    store = LoopStore(f"sqlite:///{tmp_path}/state.db")
    yield store
    store.close()


@pytest.fixture
def lease(store):
    return store.take(SCOPE, "here:1", START, 60.0)


def _step(loop, state, fence=1):
    return Transition(loop.number + 1, loop.state, state, START, fence, "because", {"a": [1]})


def test_what_is_written_is_read(store, lease):
    loop = begin(store, lease, "drift", PLAN, START)
    after = store.advance(loop, lease, _step(loop, "frozen"))
    assert store.find(loop.id) == after
    assert after.fact("frozen", "a") == [1]
    assert [each.id for each in store.listed(SCOPE)] == [loop.id]
    assert store.listed("another") == []


def test_one_is_open_at_a_time(store, lease):
    loop = begin(store, lease, "drift", PLAN, START)
    assert begin(store, lease, "manual", PLAN, START) == store.find(loop.id)
    with pytest.raises(RetrainingError, match="open already"):
        store.begin(new_loop(store, SCOPE, "drift", PLAN, START), lease)


def test_a_step_counts_once(store, lease):
    loop = begin(store, lease, "drift", PLAN, START)
    store.advance(loop, lease, _step(loop, "frozen"), {"rows": 1})
    with pytest.raises(FencedError, match="taken further"):
        store.advance(loop, lease, _step(loop, "closing"), {"rows": 2})
    assert store.spent(SCOPE) == [{"rows": 1}]
    assert len(store.transitions(loop.id)) == 1


def test_a_step_of_an_earlier_holder_does_not_count(store, lease):
    loop = begin(store, lease, "drift", PLAN, START)
    store.take(SCOPE, "here:2", START, 60.0, forfeit="here:")
    for write in (
        lambda: store.advance(loop, lease, _step(loop, "frozen"), {"rows": 1}),
        lambda: store.explain(loop, lease, "still here"),
        lambda: store.renew(lease, START, 60.0),
    ):
        with pytest.raises(FencedError):
            write()
    assert (store.find(loop.id).state, store.transitions(loop.id)) == ("opened", [])
    assert store.spent(SCOPE) == []


def test_a_step_that_cannot_follow_is_refused(store, lease):
    loop = begin(store, lease, "drift", PLAN, START)
    with pytest.raises(RetrainingError, match="cannot follow"):
        store.advance(loop, lease, _step(loop, "promoted"))


@pytest.mark.parametrize("column", ["evidence", "reason", "at", "fence"])
def test_a_past_that_was_changed_shows(store, lease, column):
    loop = begin(store, lease, "drift", PLAN, START)
    for state in ("frozen", "trained", "gated"):
        loop = store.advance(loop, lease, _step(loop, state))
    check_chain(store.transitions(loop.id))
    forged = {"evidence": '{"a": [2]}', "reason": "x", "at": "2026-01-01T00:00:00+00:00"}
    value = forged.get(column, 7)
    with store._database.transaction() as connection:
        change = sql.update(TRANSITIONS).where(TRANSITIONS.c.number == 2)
        connection.execute(change.values({column: value}))
    with pytest.raises(RetrainingError, match="transition 2"):
        check_chain(store.transitions(loop.id))


@pytest.mark.parametrize("text", ["a\0b", "\udcff"])
def test_an_answer_that_no_database_keeps_is_refused_at_once(text):
    for by, reason in ((text, ""), ("Dr Z", text)):
        with pytest.raises(UsageError, match="without NUL"):
            Approval(True, by, START, reason)
    assert Approval(True, "Dr Žižek", START, "gesehen ✓\n").by == "Dr Žižek"


def test_letting_go_lets_others_in_and_not_twice(store, lease):
    store.let_go(lease)
    second = store.take(SCOPE, "far:1", START, 60.0)
    store.let_go(lease)
    with pytest.raises(RetrainingError, match="far:1"):
        store.take(SCOPE, "here:1", START, 60.0)
    assert second.fence == lease.fence + 1
