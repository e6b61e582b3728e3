"""A room of jobs over a home with a fitted model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from serving.conftest import TestClient, until
from serving.conftest import home as home
from serving.conftest import stored as stored

from fedrisk.home import Home
from fedrisk.serving.app import create_app
from fedrisk.serving.batch import ScoringProcesses
from fedrisk.serving.jobs import JobRoom, JobRules

CSV = {"Content-Type": "text/csv"}
HEAD = b"age,pm2.5,marker,sex,ward\n"
LINE = b"71.5,12.0,-1.25,male,c d\n"
RULES = JobRules(beat=0.05)


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def pass_seconds(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_room(home: Home, clock: Clock, holder: str = "a", **rules: float) -> JobRoom:
    kept = replace(RULES, **rules)
    return JobRoom(home.jobs, f"sqlite:///{home.state}", clock, "here", holder, kept)


@pytest.fixture
def room(home: Home, clock: Clock) -> Iterator[JobRoom]:
    room = make_room(home, clock)
    yield room
    room.close()


@pytest.fixture
def client(home: Home, stored, room: JobRoom) -> Iterator[TestClient]:
    batches = ScoringProcesses(home.serving / "batches")
    with TestClient(create_app(home, jobs=room, batches=batches)) as client:
        yield client


def ended(client: TestClient, identifier: str, headers: dict | None = None) -> dict:
    """A job once it has ended."""
    found: dict = {}

    def look() -> bool:
        found.update(client.get(f"/jobs/{identifier}", headers=headers).json())
        return found["state"] in ("done", "failed", "cancelled")

    until(look, 60)
    return found
