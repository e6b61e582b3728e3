"""A small study, and ways to write rows for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedrisk.study import Study, parse_study

FEATURES = [
    {"name": "age", "kind": "number", "unit": "year", "minimum": 0, "maximum": 120},
    {"name": "pulse", "kind": "number", "plausible": [30, 180], "missing": "allow"},
    {"name": "sex", "kind": "category", "levels": ["female", "male"], "missing": "allow"},
]


def _make(**keys: Any) -> Study:
    return parse_study(
        {"name": "small", "label": "ill", "positive": [1], "features": FEATURES, **keys}
    )


@pytest.fixture(scope="session")
def make_study() -> Callable[..., Study]:
    """Make the small study, with further keys."""
    return _make


@pytest.fixture
def study() -> Study:
    return _make()


@pytest.fixture
def roles() -> Study:
    """The small study with every role that a column can have."""
    return _make(id="who", time="day", treated="acted", split="fold")


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "rows.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def parquet_file(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def write(columns: dict[str, Any]) -> Path:
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return write
