"""The default policy answers honest work: real regions of a trial, and the simulated cohort."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from red_team.conftest import Site, make_site

from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.training import train
from fedrisk.models.logistic import LogisticModel
from fedrisk.simulation import write_cohort
from fedrisk.sites.cohort import load_cohort
from fedrisk.study import Study, find_study, load_study
from fedrisk.study.training import TrainingRequest, TrainingResult

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "gusto"
DATA = ROOT.parent / "shared" / "data" / "gusto_regions" / "gusto.csv.gz"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

needs_data = pytest.mark.skipif(not DATA.is_file(), reason="../shared/data/gusto_regions is absent")


class GuardedGrid(InMemoryGrid):
    """Every site behind its own folder and policy."""

    def __init__(self, sites: Mapping[str, Site]) -> None:
        super().__init__({name: site.folder for name, site in sites.items()})
        for node, site in enumerate(sites.values(), start=1):
            config = {"folder": str(site.folder), "site": site.name}
            self._contexts[node] = Context(1, node, config, RecordDict(), {})


Guarded = Callable[[Study, Mapping[str, Path]], dict[str, Site]]


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    """Folders with default policies around files, and the study approved in each."""

    def guard(study: Study, files: Mapping[str, Path]) -> dict[str, Site]:
        sites = {name: make_site(tmp_path / name, name, file) for name, file in files.items()}
        for site in sites.values():
            site.approves(study)
        return sites

    return guard


def run(study: Study, grid: InMemoryGrid, names: Mapping[str, object]) -> TrainingResult:
    fields = {"run_id": "r", "study": study, "sites": tuple(sorted(names)), "quorum": 1}
    request = TrainingRequest.model_validate(fields | {"as_of": NOW.isoformat(), "deadline": 60.0})
    return train(Broadcast(grid, request, 0.001), NOW)


def dropped(result: TrainingResult) -> dict[str, str]:
    return {site: why for record in result.rounds for site, why in record.dropped.items()}


@dataclass(frozen=True)
class Gap:
    """How far the guarded model is from the open one: in standard errors, in risk, in AUROC."""

    coefficients: float
    risk: float
    auroc: float


def compare(guarded: TrainingResult, open_: TrainingResult, files: Mapping[str, Path]) -> Gap:
    one, other = (LogisticModel.from_document(result.model) for result in (guarded, open_))
    rows = [load_cohort(other.study, n, f, NOW).part(test=True)[0] for n, f in files.items()]
    risks = [
        np.concatenate([1 / (1 + np.exp(-model.logit(columns))) for columns in rows])
        for model in (one, other)
    ]
    raw = [model.coefficients / [c.scale for c in model.design.columns] for model in (one, other)]
    errors = other.standard_errors[1:] / [c.scale for c in other.design.columns]
    used = ~(one.design.constant | other.design.constant)
    return Gap(
        float(np.max(np.abs(raw[0] - raw[1])[used] / errors[used])),
        float(np.mean(np.abs(risks[0] - risks[1]))),
        abs(float(guarded.metrics["auroc"] or 0) - float(open_.metrics["auroc"] or 0)),
    )


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gusto")
    command = [sys.executable, str(EXAMPLE / "split_by_region.py"), str(DATA), str(folder / "r")]
    subprocess.run(command, check=True, capture_output=True)
    return {file.stem: file for file in sorted((folder / "r").glob("*.csv"))}


@needs_data
def test_sixteen_regions_train_under_default_policies(
    regions: dict[str, Path], guarded: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    study = load_study(EXAMPLE / "study.toml")
    sites = guarded(study, regions)
    result = run(study, GuardedGrid(sites), sites)
    with capsys.disabled():
        print(f"\nregions refused: {dropped(result) or 'none'}")
    assert not dropped(result)
    gap = compare(result, run(study, InMemoryGrid(regions), regions), regions)
    with capsys.disabled():
        print(f"sixteen regions: {gap}")
    assert gap.coefficients < 2
    assert gap.risk < 0.005
    assert gap.auroc < 0.005


@needs_data
def test_four_groups_of_regions_train_under_default_policies(
    regions: dict[str, Path],
    guarded: Guarded,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = load_study(EXAMPLE / "study.toml")
    files = list(regions.values())
    grouped = {}
    for number in range(4):
        tables = [file.read_bytes() for file in files[number * 4 : number * 4 + 4]]
        grouped[f"site-{number}"] = tmp_path / f"site-{number}.csv"
        body = b"".join(table.partition(b"\n")[2] for table in tables[1:])
        grouped[f"site-{number}"].write_bytes(tables[0] + body)
    sites = guarded(study, grouped)
    result = run(study, GuardedGrid(sites), sites)
    assert not dropped(result)
    gap = compare(result, run(study, InMemoryGrid(grouped), grouped), grouped)
    with capsys.disabled():
        print(f"\nfour groups: {gap}")
    assert gap.coefficients < 0.3
    assert gap.risk < 0.001
    assert gap.auroc < 0.002


def test_the_simulated_cohort_trains_under_default_policies(
    guarded: Guarded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = find_study("air-wearables")
    files = write_cohort(tmp_path / "simulated", 3, 40, 60, 1, date(2025, 1, 1), scenario="none")
    named = {file.stem: file for file in files} if not isinstance(files, dict) else files
    sites = guarded(study, named)
    result = run(study, GuardedGrid(sites), sites)
    assert not dropped(result)
    gap = compare(result, run(study, InMemoryGrid(named), named), named)
    with capsys.disabled():
        print(f"\nair-wearables: {gap}")
    assert gap.coefficients < 0.3
    assert gap.risk < 0.001
