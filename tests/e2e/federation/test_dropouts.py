"""A site's wire is cut in the middle of a run: the run goes on, and says who is missing."""

from __future__ import annotations

import json
from datetime import datetime
from functools import reduce
from operator import add

import numpy as np
import pytest
from e2e.federation.deployment import Deployment
from e2e.federation.faults import (
    ACCOUNT,
    Fault,
    Undisturbed,
    coefficients_of,
    lines_of,
    model_of,
    phase_of,
)
from e2e.federation.gusto import STUDY
from running import wait_until
from sklearn.linear_model import LogisticRegression

from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.summary import summarise
from fedrisk.sites.cohort import load_cohort
from fedrisk.sites.disclosure.review import protect
from fedrisk.sites.policy import Policy
from fedrisk.study import load_study

pytestmark = [pytest.mark.federation, pytest.mark.hosts]

GONE = "site-3"
#: Seconds that a site has for an answer.
DEADLINE = 45


def test_three_of_four_are_enough(federation: Deployment, undisturbed: Undisturbed) -> None:
    federation.wait_ready()
    before = {path.name for path in federation.runs.glob("*")}
    training = federation.train("--quorum", 3, "--deadline", DEADLINE)
    run = federation.new_run(before)
    assert wait_until(lambda: phase_of(run, undisturbed.rounds) == "newton 2", 200)
    federation.hosts[GONE].unplug()
    try:
        told = federation.finished(training, 400)
    finally:
        federation.hosts[GONE].plug()

    (dropped,) = told["dropped"]
    assert dropped["site"] == GONE
    assert dropped["kind"] == "newton"
    assert "did not answer within 45 s" in dropped["reason"]
    ACCOUNT.survived.append(Fault(f"{GONE}'s wire, 3 of 4 left", "newton 2", float(DEADLINE)))
    others = [name for name in federation.data if name != GONE]
    rounds = lines_of(run)
    assert rounds[1]["sites"] == list(federation.data)
    assert [line["sites"] for line in rounds[2:]] == [others] * len(rounds[2:])
    assert sorted(told["sites"]) == others

    fitted = np.array(coefficients_of(model_of(run)))
    as_of = json.loads((run / "request.json").read_text(encoding="utf-8"))["as_of"]
    expected = pooled(federation, others, datetime.fromisoformat(as_of))
    np.testing.assert_allclose(fitted, expected, rtol=0, atol=1e-8)
    # It would have been another model with the fourth site, whose fit is the pooled one, too.
    whole = pooled(federation, list(federation.data), datetime.fromisoformat(as_of))
    np.testing.assert_allclose(coefficients_of(undisturbed.model), whole, rtol=0, atol=1e-8)
    assert np.abs(fitted - np.array(coefficients_of(undisturbed.model))).max() > 1e-3


def test_the_site_comes_back_by_itself(federation: Deployment) -> None:
    federation.wait_ready(GONE)

    def online() -> bool:
        sites = {site["site"]: site["connection"] for site in federation.status()["sites"]}
        return sites[GONE] == "online"

    assert wait_until(online, 120)


def pooled(federation: Deployment, sites: list[str], as_of: datetime) -> np.ndarray:
    """The fit by scikit-learn of these sites' rows together, in the design that all agreed on.

    The rows are as the sites' default policy recodes small groups of them.
    """
    study = load_study(STUDY)
    cohorts = {
        name: protect(Policy(), load_cohort(study, name, path, as_of))
        for name, path in federation.data.items()
    }
    parts = {name: cohort.part(test=False) for name, cohort in cohorts.items()}
    design = design_from_summary(study, reduce(add, (summarise(study, *p) for p in parts.values())))
    matrix = np.vstack([design.transform(parts[name][0]) for name in sites])
    events = np.concatenate([parts[name][1] for name in sites])
    fit = LogisticRegression(solver="newton-cholesky", tol=1e-12, C=1 / study.penalty)
    fit.fit(matrix, events)
    return np.concatenate([fit.intercept_, fit.coef_[0]])
