"""A small fitted model, stored as serving reads it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fedrisk.home import Home
from fedrisk.models.checks import make_checks
from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.newton import newton_advance, newton_start, newton_sums, posterior_covariance
from fedrisk.models.summary import reference, summarise
from fedrisk.registry.cache import StoredModel, write_model
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.study import CategoryFeature, NumberFeature, Study

with warnings.catch_warnings():
    # Starlette asks for a successor of httpx; the client's behaviour is the same.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient as TestClient

STUDY = Study(
    name="clinic",
    title="Event within a month",
    label="event",
    positive=(1,),
    bands={"medium": 0.3, "high": 0.6},
    features=(
        NumberFeature(name="age", unit="year", minimum=0, maximum=120, plausible=(18, 100)),
        NumberFeature(name="pm2.5", unit="ug/m3", minimum=0, missing="allow"),
        NumberFeature(name="marker"),
        CategoryFeature(name="sex", kind="category", levels=("female", "male"), missing="allow"),
        CategoryFeature(name="ward", kind="category", levels=("a", "b", "c d")),
    ),
)


def fit(study: Study = STUDY, *, seed: int = 1, rows: int = 600) -> tuple[LogisticModel, dict]:
    """Fit a model to random rows; also its reference."""
    rng = np.random.default_rng(seed)
    columns = {
        "age": rng.uniform(20, 95, rows),
        "pm2.5": np.where(rng.random(rows) < 0.1, np.nan, rng.gamma(2, 10, rows)),
        "marker": rng.normal(0, 3, rows),
        "sex": rng.integers(-1, 2, rows).astype(np.int32),
        "ward": rng.integers(0, 3, rows).astype(np.int32),
    }
    truth = 0.05 * (columns["age"] - 60) + 0.2 * columns["marker"] + 0.5 * (columns["ward"] == 2)
    events = rng.random(rows) < 1 / (1 + np.exp(-truth))
    summary = summarise(study, columns, events)
    design = design_from_summary(study, summary)
    matrix = design.transform(columns)
    state = newton_start(matrix.shape[1] + 1, float(events.mean()))
    while not state.done:
        sums = newton_sums(matrix, events, state.proposal[None, :])
        state = newton_advance(state, sums, study.penalty, design.constant)
    beta = state.proposal
    covariance = posterior_covariance(state.hessian, design.constant)
    about = {"metrics": {"auroc": 0.8}, "created": "2024-02-29T12:00:00+00:00"}
    model = LogisticModel(study, design, float(beta[0]), beta[1:], covariance, about)
    return model, dict(reference(study, summary))


def store(home: Home, version: str = "1", *, seed: int = 1) -> StoredModel:
    """Put a fitted model in a home's cache as champion."""
    model, bins = fit(seed=seed)
    document, checks = model.document(), make_checks(model)
    return write_model(
        home.champion, document, bins, checks, name="clinic", version=version, run_id=f"run{seed}"
    )


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that must happen soon."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


ROW = {"age": 71.5, "pm2.5": 12.0, "marker": -1.25, "sex": "male", "ward": "c d"}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that is given no lifecycle turns nobody away because this machine is loaded."""
    monkeypatch.setattr("fedrisk.serving.app.Lifecycle", partial(Lifecycle, most_lag=60))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A prepared home without a model."""
    return Home(tmp_path / "home").prepare()


@pytest.fixture
def stored(home: Home) -> StoredModel:
    """The champion of `home`."""
    return store(home)
