"""Windows in a real PostgreSQL server: merged over replicas, once each, whatever happens to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from postgresql import PostgreSQL, needs_postgresql, postgresql

from fedrisk.errors import HomeError
from fedrisk.profiles.store import WindowStore

from .test_store import NOON, window

pytestmark = needs_postgresql


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


@pytest.fixture
def store(server: PostgreSQL) -> Iterator[WindowStore]:
    made = WindowStore(server.url)
    made.forget_before(datetime(9999, 1, 1, tzinfo=UTC))
    yield made
    made.close()


def test_windows_come_back_as_they_went_in(store: WindowStore) -> None:
    ends = [NOON + timedelta(minutes=15 * n) for n in (2, 0, 1)]
    assert store.add([window(f"w{n}", end) for n, end in enumerate(ends)]) == 3
    found = store.between("clinic", NOON, NOON + timedelta(hours=1))
    assert [each.id for each in found] == ["w2", "w0"]
    assert found[0].profile.document() == window("w2", ends[2]).profile.document()
    assert store.forget_before(NOON + timedelta(minutes=1)) == 1


def test_a_server_that_restarts_between_two_uses_is_not_noticed(
    server: PostgreSQL, store: WindowStore
) -> None:
    store.add([window("before", NOON)])
    server.restart()
    assert store.add([window("before", NOON), window("after", NOON)]) == 1


def test_a_server_that_is_away_is_named_without_a_password(server: PostgreSQL) -> None:
    server.stop()
    store = WindowStore(server.url.replace("fedrisk@", "fedrisk:hidden@"))
    try:
        with pytest.raises(HomeError, match="cannot be written at postgresql") as told:
            store.add([window("a", NOON)])
        assert "hidden" not in told.value.message + told.value.hint
    finally:
        server.start()
    assert store.add([window("a", NOON)]) == 1
    store.close()


def test_replicas_that_start_and_write_at_one_time_all_succeed(server: PostgreSQL) -> None:
    import sqlalchemy as sql

    engine = sql.create_engine(server.url)
    with engine.begin() as connection:
        connection.execute(sql.text("drop schema public cascade"))
        connection.execute(sql.text("create schema public"))
    engine.dispose()
    replicas = 6
    gate = threading.Barrier(replicas)
    stored: list[int] = []
    failed: list[HomeError] = []

    def replica(number: int) -> None:
        store = WindowStore(server.url)
        gate.wait()
        try:
            stored.append(store.add([window("same", NOON), window(f"own-{number}", NOON)]))
        except HomeError as error:
            failed.append(error)
        store.close()

    threads = [threading.Thread(target=replica, args=(number,)) for number in range(replicas)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sum(stored) == replicas + 1
