"""Errors of rows that resemble each other, against replications of the same experiment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.models.comparison.clusters import (
    cluster_counts,
    cluster_moments,
    clusterings,
    form_covariance,
    form_variance,
)


def mean_with_error(values, people, days):
    codes = clusterings(people, days)
    table = np.stack([values, np.ones_like(values)])
    form = np.array([1.0, -values.mean()]) / len(values)
    variance = form_variance(form, cluster_moments(table, codes), cluster_counts(codes))
    return values.mean(), variance


def test_independent_rows_have_the_textbook_error():
    values = np.random.default_rng(1).normal(size=400)
    _, variance = mean_with_error(values, np.arange(400), np.arange(400))
    assert variance == pytest.approx(values.var(ddof=1) / 400, rel=1e-9)


def test_without_days_people_alone_count():
    rng = np.random.default_rng(2)
    people = rng.integers(0, 40, 400)
    values = rng.normal(size=400) + rng.normal(size=40)[people]
    _, variance = mean_with_error(values, people, np.arange(400))
    sums = np.bincount(people, values - values.mean())
    assert variance == pytest.approx(np.sum(sums**2) * 40 / 39 / 400**2, rel=1e-9)


def test_people_and_days_together_give_the_error_that_replications_have():
    rng = np.random.default_rng(3)
    people, days = (each.ravel() for each in np.meshgrid(np.arange(50), np.arange(30)))
    means, variances = [], []
    for _ in range(300):
        values = rng.normal(size=1500) + rng.normal(size=50)[people] + rng.normal(size=30)[days]
        mean, variance = mean_with_error(values, people, days)
        means.append(mean)
        variances.append(variance)
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.2)


def test_days_never_make_a_figure_look_surer():
    people = np.repeat(np.arange(20), 2)
    days = np.tile([0, 1], 20)
    values = np.where(days == 0, 1.0, -1.0) + np.random.default_rng(4).normal(0, 0.1, 40)
    codes = clusterings(people, days)
    table = np.stack([values, np.ones(40)])
    form = np.array([1.0, -values.mean()]) / 40
    moments, counts = cluster_moments(table, codes), cluster_counts(codes)
    person = form @ moments[0] @ form * 20 / 19
    assert form_variance(form, moments, counts) >= person


def test_one_person_has_no_error():
    _, variance = mean_with_error(np.arange(5.0), np.zeros(5, int), np.arange(5))
    assert np.isnan(variance)


@given(st.lists(st.tuples(st.integers(-3, 9), st.integers(-3, 9)), min_size=1, max_size=30))
def test_clusters_are_people_days_and_pairs_of_both(rows):
    people, days = (np.array(each) for each in zip(*rows, strict=True))
    counts = cluster_counts(clusterings(people, days))
    assert counts.tolist() == [len(set(people)), len(set(days)), len(set(rows))]


def test_days_whose_rows_cancel_leave_the_error_by_person():
    """Two people a day, one above and one below: by chance alone days would differ."""
    values, days = np.tile([1.0, -1.0], 20), np.repeat(np.arange(20), 2)
    _, variance = mean_with_error(values, np.arange(40), days)
    assert variance == pytest.approx(values.var(ddof=1) / 40)


def test_of_several_figures_none_looks_surer_by_days():
    rng = np.random.default_rng(6)
    people, days = np.arange(40), np.repeat(np.arange(20), 2)
    table = np.stack([np.tile([1.0, -1.0], 20), rng.normal(size=20)[days]])
    codes = clusterings(people, days)
    moments, counts = cluster_moments(table, codes), cluster_counts(codes)
    found = np.diag(form_covariance(np.eye(2), moments, counts))
    assert (found >= np.diag(moments[0]) * 40 / 39 * (1 - 1e-9)).all()
