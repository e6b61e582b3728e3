"""Random studies with rows at several sites, and the fit that the exact strategy does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest

from fedrisk.models.design_matrix import DesignMatrix, design_from_summary
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.newton import (
    NewtonState,
    newton_advance,
    newton_start,
    newton_sums,
    posterior_covariance,
)
from fedrisk.models.summary import FeatureSummary, summarise
from fedrisk.study import Study, parse_study


@dataclass(frozen=True)
class Cohort:
    """Rows of every site in one table; ``site`` says where each row lives, out of ``sites``."""

    study: Study
    columns: dict[str, Any]
    events: Any
    site: Any
    sites: int

    def parts(self):
        """Each site's columns and events; a site may have one row, one class, or none at all."""
        for place in range(self.sites):
            here = self.site == place
            yield {name: v[here] for name, v in self.columns.items()}, self.events[here]

    def summary(self, centres: Any = None) -> FeatureSummary:
        return reduce(add, (summarise(self.study, *part, centres) for part in self.parts()))


def number_column(rng, rows: int, plain: bool):
    """A number feature's declaration and values: any scale, bounds or none, gaps, constants."""
    scale = 1.0 if plain else 10.0 ** rng.uniform(-3, 3)
    values = scale * (rng.normal(size=rows) + (0 if plain else rng.uniform(-5, 5)))
    if rng.random() < 0.3:
        values = np.round(values / scale) * scale
    entry = {"name": "", "kind": "number"}
    shape = rng.integers(4)
    if not plain and shape == 0:
        values = np.full(rows, values[0])
    if shape in (1, 2):
        entry |= {"minimum": float(values.min() - scale), "maximum": float(values.max() + scale)}
    if shape == 2:
        middle = float(np.median(values))
        entry["plausible"] = [
            max(entry["minimum"], middle - 2 * scale),
            min(entry["maximum"], middle + 2 * scale),
        ]
    if rng.random() < 0.4:
        entry["missing"] = "allow"
        values[rng.random(rows) < rng.choice([0.0, 0.1, 0.5] if plain else [0.0, 0.1, 1.0])] = (
            np.nan
        )
    return entry, values


def category_column(rng, rows: int):
    """A category feature's declaration and codes; some levels may not occur."""
    levels = [f"level {place}" for place in range(rng.integers(2, 5))]
    codes = rng.integers(0, len(levels) - rng.integers(0, 2), rows).astype(np.int32)
    entry = {"name": "", "kind": "category", "levels": levels}
    if rng.random() < 0.4:
        entry["missing"] = "allow"
        codes[rng.random(rows) < 0.2] = -1
    return entry, codes


def random_cohort(seed: int, rows: int, sites: int = 4, penalty: float = 1.0, plain: bool = False):
    rng = np.random.default_rng(seed)
    made = [number_column(rng, rows, plain) for _ in range(rng.integers(1, 5))]
    made += [category_column(rng, rows) for _ in range(rng.integers(0, 3))]
    logit, features, columns = np.full(rows, rng.uniform(-2, 1)), [], {}
    for place, (entry, values) in enumerate(made):
        entry["name"] = f"f{place}"
        features.append(entry)
        columns[entry["name"]] = values
        seen = np.nan_to_num(values.astype(float), nan=0.0)
        logit += rng.normal() * (seen - seen.mean()) / (seen.std() or 1.0)
    events = rng.random(rows) < 1 / (1 + np.exp(-logit))
    events[:2] = [True, False]
    study = parse_study(
        {
            "name": "random",
            "label": "y",
            "positive": [1],
            "penalty": penalty,
            "features": features,
        }
    )
    # Uneven on purpose: the last site often has one row or none.
    share = np.sort(rng.random(sites))[::-1] ** 3 + 1e-9
    site = rng.choice(sites, rows, p=share / share.sum())
    return Cohort(study, columns, events, site, sites)


def fit_cohort(cohort: Cohort) -> LogisticModel:
    summary = cohort.summary()
    design = design_from_summary(cohort.study, summary)
    state = solve(cohort, design, summary)
    beta = state.proposal
    covariance = posterior_covariance(state.hessian, design.constant)
    return LogisticModel(cohort.study, design, float(beta[0]), beta[1:], covariance)


def solve(cohort: Cohort, design: DesignMatrix, summary: FeatureSummary) -> NewtonState:
    matrices = [(design.transform(columns), events) for columns, events in cohort.parts()]
    state = newton_start(1 + len(design.columns), float(summary.events / summary.rows))
    while not state.done:
        assert state.evaluations < 100
        candidates = state.proposal[None]
        sums = reduce(add, (newton_sums(m, e, candidates) for m, e in matrices))
        state = newton_advance(state, sums, cohort.study.penalty, design.constant)
    return state


@pytest.fixture(scope="session")
def make_cohort() -> Callable[..., Cohort]:
    return random_cohort


@pytest.fixture(scope="session")
def fit() -> Callable[[Cohort], LogisticModel]:
    return fit_cohort
