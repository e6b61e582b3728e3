"""A record with a clock that tests move."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.sealing import make_keys

START = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """File of a private key; its public one lies beside it."""
    file = tmp_path / "record.key"
    make_keys(file)
    return file


def public(private: Path) -> Path:
    return private.with_name(f"{private.name}.pub")
