"""A small finished training run, fitted on random rows without any federation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fedrisk.models.checks import make_checks
from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.metrics import evaluation_sums, overall_metrics, site_evaluation
from fedrisk.models.newton import (
    newton_advance,
    newton_start,
    newton_sums,
    posterior_covariance,
)
from fedrisk.models.summary import reference, summarise
from fedrisk.study import Study, parse_study
from fedrisk.study.training import RoundRecord, TrainingRequest, TrainingResult

STUDY = {
    "name": "heart",
    "title": "Death within 30 days",
    "label": "dead",
    "positive": [1],
    "features": [
        {"name": "age", "kind": "number", "unit": "year", "minimum": 0, "maximum": 120},
        {"name": "sbp", "kind": "number", "unit": "mmHg", "missing": "allow"},
        {"name": "sex", "kind": "category", "levels": ["female", "male"], "missing": "allow"},
    ],
}


def fit(study: Study, seed: int, run_id: str) -> TrainingResult:
    """A finished run of a study with the features of `STUDY`."""
    generator = np.random.default_rng(seed)
    rows = 600
    columns = {
        "age": generator.uniform(20, 90, rows),
        "sbp": np.where(generator.random(rows) < 0.1, np.nan, generator.normal(130, 20, rows)),
        "sex": generator.integers(-1, 2, rows).astype(np.int32),
    }
    events = generator.random(rows) < 1 / (1 + np.exp(-(columns["age"] - 60) / 15))
    summary = summarise(study, columns, events)
    design = design_from_summary(study, summary)
    matrix = design.transform(columns)
    state = newton_start(1 + matrix.shape[1], float(events.mean()))
    rounds = []
    while not state.done:
        sums = newton_sums(matrix, events, state.proposal[None, :])
        state = newton_advance(state, sums, study.penalty, design.constant)
        number = len(rounds) + 1
        metrics = {"loss_per_row": state.loss / rows}
        per_site = {name: {"seconds": 0.25 * number} for name in ("St. Anna", "north")}
        rounds.append(
            RoundRecord(
                number=number,
                kind="newton",
                seconds=0.5,
                bytes_out=100,
                bytes_in=200,
                sites=("St. Anna", "north"),
                metrics=metrics,
                per_site=per_site,
            )
        )
    about = {"name": study.name, "run_id": run_id, "strategy": "exact", "rows": rows}
    beta = state.proposal
    covariance = posterior_covariance(state.hessian, design.constant)
    model = LogisticModel(study, design, float(beta[0]), beta[1:], covariance, about)
    logit = model.logit(columns)
    own = site_evaluation(logit, events)
    site = {"auroc": float(own.auroc), "auroc_standard_error": float(own.auroc_standard_error)}
    return TrainingResult(
        request=TrainingRequest(run_id=run_id, study=study, as_of="2025-01-01T00:00:00Z"),
        model=model.document(),
        reference=dict(reference(study, summary)),
        checks=make_checks(model),
        rounds=tuple(rounds),
        seconds=1.5,
        rows={"St. Anna": {"train": 400, "test": 100}, "north": {"train": 200, "test": 50}},
        metrics=overall_metrics(evaluation_sums(logit, events)),
        per_site={"St. Anna": site, "north": {"auroc": None, "auroc_standard_error": None}},
        warnings=("feature 'sbp' is missing in 10 % of rows",),
        versions={"numpy": np.__version__},
    )


@pytest.fixture(scope="session")
def make_result() -> Callable[..., TrainingResult]:
    """Make a finished run by its id; another seed gives another model."""
    study = parse_study(STUDY)
    return lambda run_id="run-1", seed=1: fit(study, seed, run_id)


@pytest.fixture(scope="session")
def result(make_result: Callable[..., TrainingResult]) -> TrainingResult:
    return make_result()
