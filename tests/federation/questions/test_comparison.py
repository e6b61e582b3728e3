"""Models compared over sites equal the same models compared on the rows of all sites together."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federation.faulty import Faulty, at, crash

from fedrisk.errors import FederationError, UsageError
from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.questions.comparison import compare
from fedrisk.federation.training import train
from fedrisk.models.comparison import Comparison, compare_rows
from fedrisk.models.contender import Contender
from fedrisk.models.logistic import LogisticModel
from fedrisk.sites.cohort import load_cohort
from fedrisk.sites.compared import compared_rows
from fedrisk.study import parse_study
from fedrisk.study.questions import ComparisonRequest, ComparisonResult
from fedrisk.study.training import TrainingRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SINCE = "2025-04-01"
STUDY = parse_study(
    {
        "name": "small",
        "label": "ill",
        "positive": [1],
        "id": "who",
        "time": "day",
        "treated": "acted",
        "subgroups": ["sex"],
        "test_fraction": 0.4,
        "features": [
            {"name": "heat", "kind": "number", "minimum": -50, "maximum": 60},
            {"name": "sex", "kind": "category", "levels": ["f", "m"]},
        ],
    }
)


def write_rows(path: Path, seed: int, rows: int) -> Path:
    random = np.random.default_rng(seed)
    lines = ["who,day,heat,sex,acted,ill"]
    for row in range(rows):
        heat, day = random.normal(20, 8), datetime(2025, 1, 1, tzinfo=UTC) + timedelta(row % 300)
        ill = int(random.random() < 1 / (1 + np.exp(1 - (heat - 20) / 6)))
        who, sex = f"{seed}-{random.integers(rows // 4)}", random.choice(["f", "m"])
        acted = int(random.random() < 0.2)
        lines.append(f"{who},{day.date().isoformat()},{heat:.2f},{sex},{acted},{ill}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rows")
    sizes = {"north": 900, "south": 600, "west": 400}
    return {
        name: write_rows(folder / f"{name}.csv", seed, rows)
        for seed, (name, rows) in enumerate(sizes.items())
    }


@pytest.fixture(scope="module")
def models(sites: dict[str, Path]) -> dict[str, Any]:
    fitted = {}
    for name, until in (("champion", "2025-02-01"), ("challenger", SINCE)):
        fields = {"run_id": name, "study": STUDY, "sites": tuple(sites), "as_of": NOW.isoformat()}
        asked = TrainingRequest(**fields, until=until)
        fitted[name] = train(Broadcast(InMemoryGrid(sites), asked, 0.001), NOW).model
    return fitted


def request(models: dict[str, Any], **changes: Any) -> ComparisonRequest:
    fields = {"run_id": "r1", "study": STUDY, "sites": ("north", "south", "west"), "since": SINCE}
    fields |= {"as_of": NOW.isoformat(), "models": models, "deadline": 5.0}
    return ComparisonRequest.model_validate(fields | changes)


def pooled(sites: dict[str, Path], asked: ComparisonRequest) -> Comparison:
    since = datetime.fromisoformat(asked.since or "2000-01-01")
    contenders = [
        Contender.of(name, LogisticModel.from_document(document))
        for name, document in asked.models.items()
    ]
    rows = {
        name: compared_rows(
            load_cohort(STUDY, name, sites[name], NOW, since=since),
            contenders,
            untreated=asked.untreated,
        )
        for name in sorted(sites)
    }
    return compare_rows(STUDY, tuple(asked.models), rows)


def same(result: ComparisonResult, expected: Comparison) -> None:
    found = json.dumps(Comparison.from_document(result.comparison).document(), sort_keys=True)
    assert found == json.dumps(expected.document(), sort_keys=True)


@pytest.mark.parametrize("untreated", [False, True])
def test_a_comparison_over_messages_is_that_of_the_rows(
    sites: dict[str, Path], models: dict[str, Any], untreated: bool
) -> None:
    asked = request(models, untreated=untreated)
    result = compare(Broadcast(InMemoryGrid(sites), asked, 0.001), NOW)
    same(result, pooled(sites, asked))
    assert result.refused == {}
    comparison = Comparison.from_document(result.comparison)
    assert comparison.untreated is untreated
    every = pooled(sites, request(models)).rows
    assert (comparison.rows < every) is untreated


def test_rows_outside_the_window_play_no_part(
    sites: dict[str, Path], models: dict[str, Any]
) -> None:
    whole = compare(Broadcast(InMemoryGrid(sites), request(models, since=None), 0.001), NOW)
    part = compare(Broadcast(InMemoryGrid(sites), request(models), 0.001), NOW)
    assert part.comparison["rows"] < whole.comparison["rows"]


@pytest.mark.parametrize("number", [1, 2])
def test_a_site_that_drops_out_is_told_and_the_others_are_compared(
    sites: dict[str, Path], models: dict[str, Any], number: int
) -> None:
    asked = request(models)
    grid = Faulty(sites, {"south": at(number, crash)})
    result = compare(Broadcast(grid, asked, 0.001), NOW)
    assert list(result.refused) == ["south"]
    same(result, pooled({name: sites[name] for name in ("north", "west")}, asked))
    assert len(result.rounds) == 1 + number


def test_a_site_whose_file_is_gone_is_told(sites: dict[str, Path], models: dict[str, Any]) -> None:
    gone = sites | {"south": Path("nowhere.csv")}
    result = compare(Broadcast(InMemoryGrid(gone), request(models), 0.001), NOW)
    assert "south" in result.refused["south"]
    assert result.comparison["rows"] > 0


def test_a_comparison_that_was_killed_goes_on_to_the_same_numbers(
    sites: dict[str, Path], models: dict[str, Any], tmp_path: Path
) -> None:
    asked = request(models)
    whole = compare(Broadcast(InMemoryGrid(sites), asked, 0.001), NOW)

    class KilledError(Exception):
        """Stands for a signal after the first round."""

    def kill(_record: object) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        compare(
            Broadcast(InMemoryGrid(sites), asked, 0.001, kill), NOW, Checkpoints.claim(tmp_path)
        )
    again = compare(Broadcast(InMemoryGrid(sites), asked, 0.001), NOW, Checkpoints.claim(tmp_path))
    assert [record.kind for record in again.rounds] == ["comparison", "placement"]
    assert again.comparison == whole.comparison


def test_no_row_to_judge_by_is_no_comparison(
    sites: dict[str, Path], models: dict[str, Any]
) -> None:
    with pytest.raises(FederationError, match="no site has a test row"):
        compare(Broadcast(InMemoryGrid(sites), request(models, since="2025-12-01"), 0.001), NOW)


def test_a_model_of_another_study_is_refused(
    sites: dict[str, Path], models: dict[str, Any]
) -> None:
    other = parse_study(STUDY.model_dump(mode="json") | {"penalty": 2.0})
    with pytest.raises(UsageError, match="champion"):
        compare(Broadcast(InMemoryGrid(sites), request(models, study=other), 0.001), NOW)
