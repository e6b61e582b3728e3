"""Shares of limits among replicas: never more than the whole, whoever comes, goes or is cut off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postgresql import needs_postgresql, postgresql
from running import wait_until

from fedrisk.errors import HomeError, RateLimitError
from fedrisk.serving.access import shares as module
from fedrisk.serving.access.keys import make_key
from fedrisk.serving.access.rates import Rates, place_of
from fedrisk.serving.access.share_store import DatabaseClaims
from fedrisk.serving.access.shares import LEASE, STARTING, Claim, Shares, settle

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = make_key("app", ["predict"], NOW, per_second=100.0, burst=20, concurrent=10)[0]
QUIET = make_key("other", ["predict"], NOW, concurrent=10)[0]
PLACE = place_of(KEY.id)
#: A step: which replica beats, and what is asked of it, by place.
STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.dictionaries(st.integers(0, 3), st.floats(0, 100), max_size=3)),
    min_size=1,
    max_size=60,
)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Memory:
    """Rows in this process; away when told so."""

    def __init__(self) -> None:
        self.rows: dict[str, Claim] = {}
        self.away = False
        self.fails_at_commit = False

    @contextmanager
    def transaction(self) -> Iterator[Memory]:
        if self.away:
            raise HomeError("the database is away")
        self.claims = dict(self.rows)
        self.fresh = dict(self.rows)
        yield self
        if self.fails_at_commit:
            raise HomeError("the connection broke")
        self.rows = self.fresh

    def write(self, replica: str, claim: Claim) -> None:
        self.fresh[replica] = claim

    def forget(self, replica: str) -> None:
        self.fresh.pop(replica, None)


@given(STEPS)
def test_shares_never_add_up_to_more_than_one(steps) -> None:
    claims: dict[int, Claim] = {}
    for number, demand in steps:
        others = [claim for name, claim in claims.items() if name != number]
        claims[number] = settle(claims.get(number, Claim()), others, demand)
        for place in range(5):
            assert sum(claim.share(place) for claim in claims.values()) <= 1


@given(st.integers(1, 30), st.lists(st.floats(0, 100), min_size=30, max_size=30))
def test_in_a_few_beats_each_has_what_its_demand_is_worth(count: int, demands) -> None:
    claims = [Claim() for _ in range(count)]
    for _ in range(4):
        for number in range(count):
            others = claims[:number] + claims[number + 1 :]
            claims[number] = settle(claims[number], others, {0: demands[number]})
    total = sum(demands[:count])
    for number, claim in enumerate(claims):
        assert claim.base == pytest.approx(1 / count, abs=1e-6)
        if total:
            wanted = 0.1 / count + 0.9 * demands[number] / total
            assert 0.85 * wanted <= claim.share(0) <= wanted * 1.11 + 1e-6


class Replica:
    """One machine: its rates, and what it asks the others."""

    def __init__(self, folder: Path, name: str, store, clock: Callable[[], float]) -> None:
        self.rates = Rates(folder / name, clock)
        self.shares = Shares(name, self.rates, store, clock)

    def ask(self, times: int = 1) -> int:
        """How many requests of so many it lets through."""
        return sum(self._allowed() for _ in range(times))

    def _allowed(self) -> bool:
        try:
            self.rates.take(KEY)
        except RateLimitError:
            return False
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def replicas(tmp_path: Path, clock: Clock):
    made: list[Replica] = []

    def make(store, name: str = "") -> Replica:
        made.append(Replica(tmp_path, name or f"r{len(made)}", store, clock))
        return made[-1]

    yield make
    for replica in made:
        replica.rates.close()


def settle_all(clock: Clock, *replicas: Replica, beats: int = 3) -> None:
    for _ in range(beats):
        clock.seconds += module.BEAT
        for replica in replicas:
            replica.shares.beat()


def test_one_alone_has_everything_and_two_have_halves(replicas, clock: Clock) -> None:
    store = Memory()
    one = replicas(store)
    one.shares.beat()
    assert one.ask(30) == 20
    two = replicas(store)
    assert two.ask(30) == 1  # next to nothing, before it is known who else there is
    settle_all(clock, two, one, two, beats=1)
    assert one.rates.share(5) == pytest.approx(0.5)
    assert two.rates.share(5) == pytest.approx(0.5)
    assert (one.rates.concurrent(QUIET), two.rates.concurrent(QUIET)) == (5, 5)


def test_limits_go_where_the_requests_are(replicas, clock: Clock) -> None:
    store = Memory()
    one, two = replicas(store), replicas(store)
    settle_all(clock, one, two)
    for _ in range(10):
        one.ask(90)
        two.ask(10)
        settle_all(clock, one, two, beats=1)
    assert 0.8 < one.rates.share(PLACE) < 0.9
    assert 0.1 < two.rates.share(PLACE) < 0.2
    assert one.rates.share(PLACE + 1) == pytest.approx(0.5)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 60), st.floats(0, 3), st.booleans()),
        min_size=5,
        max_size=60,
    )
)
def test_all_together_never_let_through_more_than_the_limit(tmp_path_factory, steps) -> None:
    folder, clock, store = tmp_path_factory.mktemp("rates"), Clock(), Memory()
    replicas = [Replica(folder, f"r{n}", store, clock) for n in range(3)]
    passed, shrunk, began = 0, 0, clock.seconds
    replicas[0].shares.beat()
    for number, times, pause, away in steps:
        clock.seconds += pause
        store.away = away
        passed += replicas[number].ask(times)
        before = [replica.rates.share(PLACE) for replica in replicas]
        replicas[number].shares.beat()
        shrunk += replicas[number].rates.share(PLACE) < before[number]
        assert sum(replica.rates.share(PLACE) for replica in replicas) <= 1 + 2 * STARTING + 1e-6
    started = 3 * STARTING  # where the database was away as a replica started
    limit = KEY.burst + 3 + shrunk + KEY.per_second * (1 + started) * (clock.seconds - began)
    assert passed <= limit
    for replica in replicas:
        replica.rates.close()


def test_away_it_keeps_its_share_and_takes_nobodys(replicas, clock: Clock) -> None:
    store = Memory()
    one, two = replicas(store), replicas(store)
    settle_all(clock, one, two)
    store.away = True
    for _ in range(100):  # longer than any lease
        settle_all(clock, one, two, beats=1)
        assert one.rates.share(PLACE) == pytest.approx(0.5)
        assert two.rates.share(PLACE) == pytest.approx(0.5)
    store.away = False
    one.shares.beat()  # the other has not been heard yet, and has been silent for long
    assert one.rates.share(PLACE) == pytest.approx(0.5)
    assert "r1" in store.rows


def test_a_replica_that_is_gone_leaves_its_share_after_the_lease(replicas, clock: Clock) -> None:
    store = Memory()
    one, two = replicas(store), replicas(store)
    settle_all(clock, one, two)
    end = clock.seconds + LEASE
    while clock.seconds < end:
        settle_all(clock, one, beats=1)
        assert one.rates.share(PLACE) == pytest.approx(0.5)
    settle_all(clock, one, beats=2)
    assert one.rates.share(PLACE) == pytest.approx(1.0)
    two.shares.beat()  # back again, it has what is left: nothing, until the other gives it up
    assert two.rates.share(PLACE) < 1e-6
    settle_all(clock, one, two, beats=2)
    assert two.rates.share(PLACE) == pytest.approx(0.5)


def test_a_transaction_that_breaks_leaves_less_and_never_more(replicas, clock: Clock) -> None:
    store = Memory()
    one = replicas(store)
    one.shares.beat()
    two = replicas(store)
    two.shares.beat()
    store.fails_at_commit = True
    one.shares.beat()
    two.shares.beat()
    assert one.rates.share(PLACE) == pytest.approx(0.5)
    assert two.rates.share(PLACE) < 1e-6


def test_started_while_the_database_is_away_it_has_a_tenth(replicas, caplog) -> None:
    store = Memory()
    store.away = True
    one = replicas(store)
    for _ in range(3):
        one.shares.beat()
    assert one.rates.share(PLACE) == pytest.approx(STARTING)
    assert [r.message for r in caplog.records] == [
        "limits are not shared anew: the database is away"
    ]


def test_another_worker_takes_over_with_the_share_that_there_was(replicas, clock: Clock) -> None:
    store = Memory()
    one, two = replicas(store), replicas(store)
    settle_all(clock, one, two)
    store.away = True
    again = replicas(store, "r0")  # the same file
    again.shares.beat()
    assert again.rates.share(PLACE) == pytest.approx(0.5)


def test_without_replicas_nothing_is_shared(tmp_path: Path, clock: Clock) -> None:
    with Rates(tmp_path / "rates", clock) as rates:
        rates.set_shares(0.25, {PLACE: 0.5})
        rates.set_shares(0.0, {})
        assert (rates.share(PLACE), rates.concurrent(KEY)) == (1.0, 10)


def spend(replica: Replica, until: float, passed: list[int]) -> None:
    """Ask as fast as it goes, and beat meanwhile, until a time."""
    count, beat = 0, 0.0
    while time.monotonic() < until:
        if time.monotonic() > beat:
            replica.shares.beat()
            beat = time.monotonic() + 0.05
        count += replica.ask()
    passed.append(count)


def together(folder: Path, url: str, seconds: float = 3.0) -> None:
    """Two replicas, each with a connection of its own, ask one key's limit at once."""
    replicas = [Replica(folder, n, DatabaseClaims(url), time.monotonic) for n in ("a", "b")]
    try:
        began, passed = time.monotonic(), []
        work = [
            threading.Thread(target=spend, args=(replica, began + seconds, passed))
            for replica in replicas
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        limit = KEY.burst + 2 + KEY.per_second * (time.monotonic() - began)
        assert len(passed) == 2
        assert sum(passed) <= limit + 10  # a request for each time that a share shrank to little
        assert sum(passed) > 0.3 * limit
        assert sum(replica.rates.share(PLACE) for replica in replicas) <= 1
    finally:
        for replica in replicas:
            replica.rates.close()
            replica.shares._store.close()


def test_two_replicas_and_a_sqlite_file(tmp_path: Path) -> None:
    together(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")


@needs_postgresql
def test_two_replicas_and_a_server_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    with postgresql() as server:
        together(tmp_path, server.url)
        one = Replica(tmp_path, "a", DatabaseClaims(server.url), time.monotonic)
        with one.rates:
            one.shares.beat()
            before = one.rates.share(PLACE)
            server.stop()
            one.shares.beat()
            assert one.rates.share(PLACE) == before
            server.start()

            def heard() -> bool:
                one.shares.beat()
                return not one.shares._told

            assert wait_until(heard, 30)
            one.shares._store.close()


def test_a_database_that_is_none_is_away_and_tells_no_password(tmp_path: Path) -> None:
    store = DatabaseClaims("postgresql+psycopg://me:hidden@127.0.0.1:1/none")
    with pytest.raises(HomeError) as told, store.transaction():
        pass
    assert "hidden" not in str(told.value)
