"""The recalibrated model is that of a logistic regression of the outcome on the base's logit."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federation.conftest import make_request, write_site
from sklearn.linear_model import LogisticRegression

from fedrisk.errors import UsageError
from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.training import train
from fedrisk.models.logistic import LogisticModel
from fedrisk.sites.cohort import load_cohort
from fedrisk.study import Study, parse_study
from fedrisk.study.training import TrainingResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def later(tmp_path: Path) -> dict[str, Path]:
    """Rows that the base was not fitted on, of a shifted world."""
    sizes = {"north": 700, "south": 500, "west": 300}
    return {
        name: write_site(tmp_path / f"later-{name}.csv", rows, 10 + seed, shift=25.0)
        for seed, (name, rows) in enumerate(sizes.items())
    }


def run(study: Study, sites: dict[str, Path], **changes: Any) -> TrainingResult:
    asked = make_request(study, sites, **changes)
    return train(Broadcast(InMemoryGrid(sites), asked, 0.001), NOW)


def test_it_equals_the_pooled_regression_on_the_base_s_logit(
    study: Study, sites: dict[str, Path], later: dict[str, Path]
) -> None:
    base = run(study, sites)
    result = run(study, later, strategy="recalibrate", base=base.model)
    old, new = (LogisticModel.from_document(each.model) for each in (base, result))
    parts = [load_cohort(study, name, path, NOW).part(test=False) for name, path in later.items()]
    logit = np.concatenate([old.logit(columns) for columns, _ in parts])
    events = np.concatenate([events for _, events in parts])
    pooled = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(logit[:, None], events)
    expected = pooled.intercept_[0] + pooled.coef_[0, 0] * logit
    found = np.concatenate([new.logit(columns) for columns, _ in parts])
    assert np.abs(found - expected).max() < 1e-5
    assert abs(pooled.coef_[0, 0] - 1) > 0.05  # there is something to recalibrate
    assert result.model["about"]["base"] == "r1"
    assert [c.kind for c in result.rounds].count("newton") <= 12


def test_what_is_calibrated_stays_as_it_is_and_no_surer(
    study: Study, sites: dict[str, Path]
) -> None:
    unpenalised = parse_study(study.model_dump(mode="json") | {"penalty": 0.0})
    base = run(unpenalised, sites)
    result = run(unpenalised, sites, strategy="recalibrate", base=base.model)
    old, new = (LogisticModel.from_document(each.model) for each in (base, result))
    assert new.coefficients == pytest.approx(old.coefficients, abs=1e-6)
    assert new.intercept == pytest.approx(old.intercept, abs=1e-6)
    assert (new.standard_errors >= old.standard_errors - 1e-9).all()
    assert (new.standard_errors < 3 * old.standard_errors + 1e-9).all()


@pytest.mark.parametrize(
    ("strategy", "with_base", "reason"),
    [("recalibrate", False, "needs a base"), ("exact", True, "takes no base")],
)
def test_a_base_is_there_where_one_is_needed(
    study: Study, sites: dict[str, Path], strategy: str, with_base: bool, reason: str
) -> None:
    base = run(study, sites).model if with_base else None
    with pytest.raises(UsageError, match=reason):
        run(study, sites, strategy=strategy, base=base)


def test_a_base_of_another_study_is_refused(study: Study, sites: dict[str, Path]) -> None:
    other = parse_study(study.model_dump(mode="json") | {"penalty": 2.0})
    base = run(other, sites).model
    with pytest.raises(UsageError, match="base model is of study"):
        run(study, sites, strategy="recalibrate", base=base)
