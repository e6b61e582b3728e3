"""States change by compare-and-set; who has lost a lease changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from postgresql import PostgreSQL, needs_postgresql, postgresql

from fedrisk.errors import HomeError, RateLimitError
from fedrisk.serving.jobs.store import Job, JobStore

JOB = Job("j1", "k", "disk", "here", "text/csv", False, False, "r", 10, 100.0)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgresql)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    """An empty store in each database that is supported."""
    here = f"sqlite:///{tmp_path / 'state.db'}"
    store = JobStore(here if request.param == "sqlite" else request.getfixturevalue("server").url)
    for job in store.listed(None):
        store.cancel(job.id, 0.0)
        store.delete(job.id)
    yield store
    store.close()


def test_a_lease_that_has_run_out_is_taken_over_and_the_late_holder_changes_nothing(store) -> None:
    store.add(JOB, 5)
    first = store.claim("disk", "a", 1000.0, 30.0)
    assert (first.state, first.fence, first.started, first.attempts) == ("running", 1, 1000.0, 1)
    assert store.claim("disk", "b", 1029.0, 30.0) is None
    assert store.change(first, lease=1060.0, rows=5)
    assert store.claim("disk", "b", 1059.0, 30.0) is None
    second = store.claim("disk", "b", 1061.0, 30.0)
    assert (second.fence, second.holder, second.rows, second.attempts) == (2, "b", 0, 2)
    assert not store.change(first, state="done", ended=1.0)
    assert store.find("j1") == second
    assert store.change(second, state="done", ended=2.0, model={"version": "1"})
    assert store.find("j1").model == {"version": "1"}
    assert not store.change(second, state="failed")


def test_who_was_believed_dead_is_refused_before_and_after_the_next_claim(store) -> None:
    store.add(JOB, 5)
    first = store.claim("disk", "a", 0.0, 30.0)
    assert store.free("elsewhere") == 0
    assert store.free("disk") == 1
    assert not store.change(first, state="done")
    assert store.claim("disk", "b", 1.0, 30.0).fence == 2
    assert not store.change(first, state="done")


def test_a_cancelled_job_is_not_ended_by_its_holder(store) -> None:
    store.add(JOB, 5)
    held = store.claim("disk", "a", 0.0, 30.0)
    assert not store.delete("j1")
    assert store.cancel("j1", 5.0)
    assert not store.cancel("j1", 6.0)
    assert not store.change(held, state="done")
    assert store.ended_before("disk", 5.5) == ["j1"]
    assert store.ended_before("disk", 5.0) == []
    assert store.delete("j1")
    assert store.find("j1") is None


def test_jobs_are_claimed_in_their_order_and_where_their_files_are(store) -> None:
    for number, place in ((3, "disk"), (1, "other"), (2, "disk")):
        store.add(replace(JOB, id=f"j{number}", place=place, created=float(number)), 5)
    assert [store.claim("disk", "a", 0.0, 9.0).id for _ in range(2)] == ["j2", "j3"]
    assert store.claim("disk", "a", 0.0, 9.0) is None


def test_one_owner_has_so_many_that_have_not_ended(store) -> None:
    store.add(JOB, 1)
    with pytest.raises(RateLimitError, match="1 jobs"):
        store.add(replace(JOB, id="j2"), 1)
    store.add(replace(JOB, id="j3", owner="other"), 1)
    assert [job.id for job in store.listed("k")] == ["j1"]
    assert {job.id for job in store.listed(None)} == {"j1", "j3"}
    store.cancel("j1", 0.0)
    store.add(replace(JOB, id="j2"), 1)


def test_a_database_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="jobs cannot be kept"):
        JobStore(f"sqlite:///{tmp_path / 'no' / 'x.db'}").find("j")
