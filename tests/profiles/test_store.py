"""Windows in a database: once each, in order, and a clear word where there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrisk.errors import HomeError
from fedrisk.profiles import Profile, Window
from fedrisk.profiles.store import WindowStore

from .test_counting import STUDY

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def window(name: str, end: datetime, model: str = "clinic") -> Window:
    start = end - timedelta(minutes=15)
    return Window(name, model, "1", "replica", start, end, Profile.empty(STUDY))


@pytest.fixture
def store(tmp_path: Path):
    made = WindowStore(f"sqlite:///{tmp_path / 'state.db'}")
    yield made
    made.close()


def test_windows_come_back_oldest_first_between_two_times(store: WindowStore) -> None:
    ends = [NOON + timedelta(minutes=15 * n) for n in (3, 1, 2, 0)]
    assert store.add([window(f"w{n}", end) for n, end in enumerate(ends)]) == 4
    store.add([window("other", NOON + timedelta(minutes=15), model="another")])
    found = store.between("clinic", NOON, NOON + timedelta(minutes=30))
    assert [each.id for each in found] == ["w1", "w2"]


def test_a_window_is_stored_once(store: WindowStore) -> None:
    assert store.add([window("a", NOON)]) == 1
    assert store.add([window("a", NOON), window("b", NOON)]) == 1
    assert store.add([]) == 0


def test_times_with_another_zone_are_the_same_times(store: WindowStore) -> None:
    from datetime import timezone

    east = timezone(timedelta(hours=5))
    store.add([window("a", NOON.astimezone(east))])
    assert store.between("clinic", NOON - timedelta(seconds=1), NOON)[0].end == NOON


def test_a_database_that_cannot_be_used_is_named_without_its_password(tmp_path: Path) -> None:
    store = WindowStore(f"sqlite:///{tmp_path / 'missing' / 'state.db'}")
    with pytest.raises(HomeError, match=r"cannot be written at sqlite"):
        store.add([window("a", NOON)])
    store.close()


@pytest.mark.parametrize("url", ["mysql://u:hidden@h/d", "u:hidden@nowhere", "postgresql+no://h/d"])
def test_an_address_that_cannot_be_used_is_an_error_without_its_text(url: str) -> None:
    with pytest.raises(HomeError) as told:
        WindowStore(url)
    assert "hidden" not in told.value.message
    assert "postgresql+psycopg://" in told.value.hint
