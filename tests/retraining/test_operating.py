"""Operations are kept, run one at a time, followed to their end, and survive a watch that ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fedrisk.errors import OverloadedError, RetrainingError
from fedrisk.retraining.operating import Beginning, Operating
from fedrisk.retraining.operation import Asked, Operation
from fedrisk.retraining.operation_store import MOST_BEGUN, OperationStore
from fedrisk.retraining.watch import Finished

NOW = datetime(2026, 1, 5, 7, tzinfo=UTC)
DRIFT = Asked("d", "drift", {})
RETRAIN = Asked("r", "retrain", {"trigger": "manual"})
TRAIN = Asked("t", "train", {"study": "x"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OperationStore]:
    made = OperationStore(f"sqlite:///{tmp_path / 'state.db'}", most_queued=3)
    yield made
    made.close()


def operating(store: OperationStore, **more: Any) -> Operating:
    return Operating(store, lambda: NOW, lambda each: ("train", each.asked.id), **more)


def found(store: OperationStore, asked: Asked) -> Operation:
    operation = store.find(asked.id)
    assert operation is not None
    return operation


def test_the_same_id_is_the_same_operation(store: OperationStore) -> None:
    first = store.add(RETRAIN, NOW)
    assert store.add(RETRAIN, NOW + timedelta(hours=1)) == first
    assert [each.asked.id for each in store.listed()] == ["r"]
    with pytest.raises(RetrainingError, match="something else"):
        store.add(Asked("r", "retrain", {"trigger": "drift"}), NOW)


def test_a_queue_that_is_full_takes_no_more_and_still_knows_its_own(store: OperationStore) -> None:
    for number in range(3):
        store.add(Asked(str(number), "drift", {}), NOW)
    with pytest.raises(OverloadedError):
        store.add(DRIFT, NOW)
    assert store.add(Asked("1", "drift", {}), NOW).state == "queued"
    assert store.take(NOW) is not None
    assert store.add(DRIFT, NOW).state == "queued"


def test_they_run_in_the_order_they_came(store: OperationStore) -> None:
    for number, asked in enumerate((RETRAIN, DRIFT)):
        store.add(asked, NOW + timedelta(seconds=number))
    ran: list[str] = []

    def run(operation: Operation) -> Finished:
        ran.append(operation.asked.id)
        assert found(store, operation.asked).state == "running"
        return Finished(0, {"verdict": "stable"}, ("a line",), 1)

    watch = operating(store)
    while watch.one(run):
        pass
    assert ran == ["r", "d"]
    ended = found(store, DRIFT)
    assert (ended.state, ended.code, ended.lines, ended.told) == ("ended", 0, ("a line",), 1)
    assert ended.answer == {"verdict": "stable"}


def test_one_in_whose_middle_the_watch_ended_runs_again_and_not_for_ever(
    store: OperationStore,
) -> None:
    store.add(RETRAIN, NOW)
    store.add(DRIFT, NOW - timedelta(hours=1))

    def die(operation: Operation) -> Finished:
        raise KeyboardInterrupt

    for count in range(1, MOST_BEGUN + 1):
        with pytest.raises(KeyboardInterrupt):
            operating(store).one(die)
        assert (found(store, DRIFT).state, found(store, DRIFT).begun) == ("running", count)
    # Now the next one has its turn.
    assert operating(store).one(lambda _: Finished(0, {})) is not None
    ended = found(store, DRIFT)
    assert (ended.state, ended.code) == ("ended", 1)
    assert "ended in the middle" in ended.answer["error"]
    assert found(store, RETRAIN).state == "ended"


def test_a_fault_ends_the_operation_with_its_reason(store: OperationStore) -> None:
    store.add(DRIFT, NOW)

    def fail(operation: Operation) -> Finished:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        operating(store).one(fail)
    ended = found(store, DRIFT)
    assert (ended.state, ended.code) == ("ended", 1)
    assert "ZeroDivisionError" in ended.answer["error"]


def test_a_command_that_says_nothing_is_told_all_the_same(store: OperationStore) -> None:
    store.add(DRIFT, NOW)
    operating(store).one(lambda _: Finished(-9))
    assert found(store, DRIFT).answer == {"error": "a signal ended it"}


def test_a_retraining_is_followed_to_its_end_whoever_takes_it_there(store: OperationStore) -> None:
    now: dict[str, Any] = {"state": "shadow", "reason": "waits"}
    watch = operating(store, follow=lambda name: now if name == "loop" else None)
    store.add(RETRAIN, NOW)
    answer = {"id": "loop", "state": "shadow", "reason": "waits", "champion": "1"}
    watch.one(lambda _: Finished(0, answer))
    assert found(store, RETRAIN).state == "waiting"
    now |= {"state": "awaiting approval", "reason": "a person has to agree"}
    watch.one(lambda _: pytest.fail("nothing is queued"))
    waits = found(store, RETRAIN)
    assert (waits.state, waits.answer["state"]) == ("waiting", "awaiting approval")
    now |= {"state": "done", "reason": "kept", "champion": "2"}
    watch.one(lambda _: pytest.fail("nothing is queued"))
    ended = found(store, RETRAIN)
    assert (ended.state, ended.code, ended.answer["champion"]) == ("ended", 0, "2")


def test_old_ones_are_forgotten_once_they_ended(store: OperationStore) -> None:
    for asked in (DRIFT, RETRAIN):
        store.add(asked, NOW)
    operating(store).one(lambda _: Finished(0, {}))
    store.forget_before(NOW + timedelta(days=1))
    assert len(store.listed()) == 1


def test_before_there_is_a_champion_it_trains_and_nothing_else(store: OperationStore) -> None:
    ran: list[Any] = []
    told: list[str] = []

    def run(words: Any) -> Finished:
        ran.append(words)
        return Finished(0, {"model_version": "1"})

    beginning = Beginning(operating(store), run, (lambda name, _: told.append(name),))
    assert beginning.turn() == []
    store.add(DRIFT, NOW)
    store.add(TRAIN, NOW + timedelta(seconds=1))
    assert beginning.turn() == ["drift"]
    assert (found(store, DRIFT).code, ran) == (8, [])
    assert "no champion yet" in found(store, DRIFT).answer["error"]
    assert beginning.turn() == ["train"]
    assert (ran, told) == ([("train", "t")], ["train"])
    assert Beginning(None, run).turn() == []
