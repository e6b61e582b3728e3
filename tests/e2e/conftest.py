"""A small simulated cohort for real commands."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.simulation import latest_start, write_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two simulated cities, a few thousand rows each."""
    folder = tmp_path_factory.mktemp("cohort with spaces")
    days = 200
    start = latest_start(datetime.now(UTC).date(), days)
    return write_cohort(folder, 2, 60, days, 7, start)


@pytest.fixture
def flags(cohort: dict[str, Path]) -> list[str]:
    """The command line's flags for that cohort."""
    study = next(iter(cohort.values())).parent / "study.toml"
    sites = [word for name, file in cohort.items() for word in ("--site", f"{name}={file}")]
    return ["--study", str(study), *sites]
