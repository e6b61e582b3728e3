"""The GUSTO example on the trial's own data: 16 regions, one fit, equal to the pooled one."""

from __future__ import annotations

import gzip
import subprocess
import sys
from datetime import UTC, datetime
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.metrics import evaluation_sums, overall_metrics
from fedrisk.models.newton import newton_advance, newton_start, newton_sums, posterior_covariance
from fedrisk.models.summary import summarise
from fedrisk.sites.cohort import load_cohort
from fedrisk.study import load_study

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "gusto"
DATA = ROOT.parent / "shared" / "data" / "gusto_regions" / "gusto.csv.gz"

needs_data = pytest.mark.skipif(not DATA.is_file(), reason="../shared/data/gusto_regions is absent")


@pytest.fixture(scope="module")
def study():
    return load_study(EXAMPLE / "study.toml")


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gusto") / "sites"
    command = [sys.executable, EXAMPLE / "split_by_region.py", DATA, folder]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def cohorts(study, flags):
    pairs = dict(flag.split("=", 1) for flag in flags.split() if flag != "--site")
    as_of = datetime(2025, 1, 1, tzinfo=UTC)
    return [load_cohort(study, name, Path(file), as_of) for name, file in pairs.items()]


def test_what_restates_the_outcome_or_came_later_is_no_predictor(study):
    left_out = {"sho", "hig", "hrt", "ttr", "tx", "tpa", "grpl", "grps", "regl", "day30"}
    assert not left_out & set(study.feature_names)
    assert len(study.feature_names) == 18


def test_a_table_without_regions_is_refused(tmp_path):
    source = tmp_path / "other.csv.gz"
    source.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    command = [sys.executable, EXAMPLE / "split_by_region.py", source, tmp_path / "sites"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "regl" in done.stderr
    assert done.stdout == ""


@needs_data
def test_the_split_names_sixteen_sites(flags):
    assert flags.count("--site ") == 16
    assert flags.count("\n") == 1
    assert "--site region-01=" in flags


@needs_data
def test_every_row_of_every_region_is_valid(cohorts):
    assert sum(cohort.counts.rows for cohort in cohorts) == 40_830
    assert sum(cohort.counts.usable for cohort in cohorts) == 40_830
    assert sum(int(cohort.events.sum()) for cohort in cohorts) == 2_851
    # Implausible values are there, few, and kept.
    implausible = sum(sum(cohort.counts.implausible.values()) for cohort in cohorts)
    assert 0 < implausible < 300


@needs_data
def test_the_federated_fit_is_the_pooled_fit(study, cohorts):
    train = [cohort.part(test=False) for cohort in cohorts]
    summary = reduce(add, (summarise(study, *part) for part in train))
    design = design_from_summary(study, summary)
    sites = [(design.transform(columns), events) for columns, events in train]
    state = newton_start(1 + len(design.columns), float(summary.events / summary.rows))
    while not state.done:
        sums = reduce(add, (newton_sums(*site, state.proposal[None]) for site in sites))
        state = newton_advance(state, sums, study.penalty, design.constant)
    assert state.evaluations <= 8

    matrix = np.vstack([matrix for matrix, _ in sites])
    events = np.concatenate([events for _, events in sites])
    np.testing.assert_allclose(matrix.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(matrix.std(axis=0), 1, atol=1e-9)
    pooled = LogisticRegression(solver="newton-cholesky", tol=1e-12, C=1 / study.penalty)
    pooled.fit(matrix, events)
    expected = np.concatenate([pooled.intercept_, pooled.coef_[0]])
    np.testing.assert_allclose(state.proposal, expected, rtol=0, atol=1e-8)

    beta = state.proposal
    covariance = posterior_covariance(state.hessian, design.constant)
    model = LogisticModel(study, design, float(beta[0]), beta[1:], covariance)
    test = [cohort.part(test=True) for cohort in cohorts]
    scored = [(model.logit(columns), events) for columns, events in test]
    figures = overall_metrics(reduce(add, (evaluation_sums(*part) for part in scored)))
    assert figures["auroc"] == pytest.approx(0.82, abs=0.02)
    logit, events = (np.concatenate(parts) for parts in zip(*scored, strict=True))
    assert figures["auroc"] == pytest.approx(roc_auc_score(events, logit), abs=1e-4)
    assert 0.85 < figures["calibration_slope"] < 1.15
    assert 0.85 < figures["observed_expected"] < 1.15
