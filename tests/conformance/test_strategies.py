"""Every strategy, found by its name, fits a small federation through Flower's own messages."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

import numpy as np
import pytest
from federation.faulty import Faulty, at, crash

from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.strategies import FROM_BASE, STRATEGIES
from fedrisk.federation.training import train
from fedrisk.models.checks import self_test
from fedrisk.models.logistic import LogisticModel
from fedrisk.study import parse_study
from fedrisk.study.training import TrainingRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STUDY = parse_study(
    {
        "name": "conformance",
        "label": "ill",
        "positive": ["yes"],
        "features": [
            {"name": "heat", "kind": "number", "minimum": -50, "maximum": 60},
            {"name": "flat", "kind": "number"},
            {"name": "town", "kind": "category", "levels": ["a", "b"], "missing": "allow"},
        ],
    }
)


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    rng = np.random.default_rng(0)
    folder, files = tmp_path_factory.mktemp("conformance"), {}
    for name, rows in (("one", 600), ("two", 300), ("tiny", 12)):
        heat = rng.normal(20, 8, rows)
        ill = rng.random(rows) < 1 / (1 + np.exp(1 - (heat - 20) / 6))
        town = rng.choice(["a", "b", ""], rows)
        lines = [
            f"{h:.2f},3.7,{t},{'yes' if y else 'no'}"
            for h, t, y in zip(heat, town, ill, strict=True)
        ]
        files[name] = folder / f"{name}.csv"
        files[name].write_text("\n".join(["heat,flat,town,ill", *lines]) + "\n")
    return files


@pytest.fixture(scope="module")
def base(sites):
    """A model for strategies that start from one."""
    asked = TrainingRequest(
        run_id="base", study=STUDY, sites=tuple(sorted(sites)), as_of=NOW.isoformat()
    )
    return train(Broadcast(InMemoryGrid(sites), asked, 0.001), NOW).model


@pytest.fixture(scope="module", params=STRATEGIES)
def result(request, sites, base):
    asked = TrainingRequest(
        run_id="r1",
        study=STUDY,
        strategy=request.param,
        sites=tuple(sorted(sites)),
        as_of=NOW.isoformat(),
        rounds=20,
        deadline=30.0,
        base=base if request.param in FROM_BASE else None,
    )
    return train(Broadcast(InMemoryGrid(sites), asked, 0.001), NOW)


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_is_documented_and_lives_in_a_file_of_its_name(name):
    strategy = STRATEGIES[name]
    assert inspect.getdoc(strategy)
    assert inspect.getmodule(strategy).__name__.endswith(f".strategies.{name}")
    assert list(inspect.signature(strategy).parameters) == ["start"]


def test_it_finds_the_effect_that_is_there(result):
    assert result.metrics["auroc"] > 0.7
    model = LogisticModel.from_document(result.model)
    weights = dict(zip(model.design.names, model.coefficients, strict=True))
    assert weights["heat"] > 0.5


def test_a_constant_feature_is_held_at_zero_with_a_warning(result):
    columns = {entry["name"]: entry for entry in result.model["columns"]}
    assert columns["flat"]["coefficient"] == 0
    assert any("flat" in warning for warning in result.warnings)


def test_its_model_passes_its_own_checks_and_has_standard_errors(result):
    model = LogisticModel.from_document(result.model)
    self_test(model, result.checks)
    assert (model.standard_errors[:2] > 0).all()


def test_every_round_says_what_was_asked_and_who_answered(result, sites):
    assert [record.number for record in result.rounds] == list(range(1, len(result.rounds) + 1))
    assert all(set(record.sites) == set(sites) for record in result.rounds)
    assert all(record.bytes_in > 0 for record in result.rounds)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("name", STRATEGIES)
def test_it_goes_on_with_the_sites_that_are_left(sites, base, name, number):
    request = TrainingRequest(
        run_id="r1",
        study=STUDY,
        strategy=name,
        sites=tuple(sorted(sites)),
        as_of=NOW.isoformat(),
        rounds=20,
        deadline=30.0,
        quorum=2,
        base=base if name in FROM_BASE else None,
    )
    left = {site: path for site, path in sites.items() if site != "two"}
    dropped = train(Broadcast(Faulty(sites, {"two": at(number, crash)}), request, 0.001), NOW)
    assert [(gone.site, gone.round) for gone in dropped.dropouts] == [("two", number)]
    assert dropped.metrics["auroc"] > 0.7
    assert set(dropped.rows) == set(left)
    self_test(LogisticModel.from_document(dropped.model), dropped.checks)
