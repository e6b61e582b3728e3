"""Small federations with known rows, in memory."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.training import train
from fedrisk.study import Study, parse_study
from fedrisk.study.training import TrainingRequest, TrainingResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def study() -> Study:
    return parse_study(
        {
            "name": "small",
            "label": "died",
            "positive": [1],
            "id": "patient",
            "features": [
                {"name": "age", "kind": "number", "minimum": 0, "maximum": 120, "missing": "allow"},
                {"name": "pressure", "kind": "number", "unit": "mmHg"},
                {"name": "sex", "kind": "category", "levels": ["f", "m"], "missing": "allow"},
            ],
        }
    )


def write_site(path: Path, rows: int, seed: int, *, shift: float = 0.0) -> Path:
    """Rows whose risk rises with age and falls with pressure."""
    random = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "age", "pressure", "sex", "died", "note"])
        for row in range(rows):
            age, pressure = random.uniform(20, 95), random.normal(130 + shift, 20)
            logit = -4 + 0.05 * age - 0.02 * (pressure - 130) + shift / 10
            died = int(random.random() < 1 / (1 + np.exp(-logit)))
            shown = "" if random.random() < 0.1 else f"{age:.1f}"
            sex = random.choice(["f", "m", ""], p=[0.5, 0.45, 0.05])
            writer.writerow([f"{seed}-{row // 2}", shown, f"{pressure:.1f}", sex, died, "private"])
    return path


@pytest.fixture
def sites(tmp_path: Path) -> dict[str, Path]:
    return {
        name: write_site(tmp_path / f"{name}.csv", rows, seed, shift=shift)
        for name, rows, seed, shift in (
            ("north", 900, 1, 0.0),
            ("south", 400, 2, 8.0),
            ("west", 250, 3, -5.0),
        )
    }


def make_request(study: Study, sites: Mapping[str, Path], **changes: object) -> TrainingRequest:
    fields = {"run_id": "r1", "study": study, "sites": tuple(sorted(sites)), "deadline": 5.0}
    return TrainingRequest.model_validate(fields | {"as_of": NOW.isoformat()} | changes)


@pytest.fixture
def fit(study: Study) -> Callable[..., TrainingResult]:
    """Train over sites in memory."""

    def run(sites: Mapping[str, Path], **changes: object) -> TrainingResult:
        request = make_request(study, sites, **changes)
        return train(Broadcast(InMemoryGrid(sites), request, 0.001), NOW)

    return run
