"""Verdicts and the memory between them survive, by model and version."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fedrisk.errors import HomeError
from fedrisk.monitoring.memory import Memory
from fedrisk.monitoring.store import VerdictStore


@pytest.fixture
def store(tmp_path):
    store = VerdictStore(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


@pytest.fixture(scope="module")
def verdict(world, calibration):
    from watched_world import day

    from fedrisk.monitoring.rules import VerdictRules
    from fedrisk.monitoring.verdict import judge

    windows = world.windows(54, 56)
    arguments = (windows, world.document, Memory(), VerdictRules(), day(58 * 7), calibration)
    return judge(world.study, world.reference, *arguments)


def test_a_memory_is_found_again_by_its_version(store, verdict):
    assert store.memory("m", "1") == Memory()
    store.add("m", "1", verdict)
    assert store.memory("m", "1") == verdict.memory != Memory()
    assert store.memory("m", "2") == Memory()
    store.add("m", "1", replace(verdict, at=verdict.at + timedelta(days=7), memory=Memory()))
    assert store.memory("m", "1") == Memory()


def test_the_same_verdict_is_stored_once_and_later_ones_come_first(store, verdict):
    store.add("m", "1", verdict)
    store.add("m", "1", verdict)
    later = replace(verdict, at=verdict.at + timedelta(days=7), memory=Memory())
    store.add("m", "2", later)
    first, second = store.verdicts("m")
    assert (first["version"], first["at"]) == ("2", later.at.isoformat())
    assert (second["version"], second["verdict"]) == ("1", verdict.status)
    assert store.verdicts("m", limit=1) == [first]
    assert store.forget_before(later.at) == 1
    assert store.verdicts("m") == [first]


def test_a_database_that_is_away_is_told(tmp_path):
    store = VerdictStore(f"sqlite:///{tmp_path / 'no' / 'state.db'}")
    with pytest.raises(HomeError, match="verdicts cannot be read"):
        store.memory("m", "1")
