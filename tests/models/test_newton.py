from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from fedrisk.errors import ConvergenceError
from fedrisk.models.newton import (
    BLOCK,
    NewtonState,
    newton_advance,
    newton_start,
    newton_sums,
    posterior_covariance,
)

seeds = st.integers(0, 2**32 - 1)


def information(matrix, beta, penalty):
    """Penalised Hessian written down a second time, from its definition."""
    full = np.hstack([np.ones((len(matrix), 1)), matrix])
    risk = 1 / (1 + np.exp(-full @ beta))
    ridge = np.diag([0.0, *[penalty] * matrix.shape[1]])
    return full.T @ np.diag(risk * (1 - risk)) @ full + ridge


def solve(matrix, events, penalty, state=None):
    constant = np.zeros(matrix.shape[1], bool)
    state = state or newton_start(1 + matrix.shape[1], events.mean())
    while not state.done:
        sums = newton_sums(matrix, events, state.proposal[None])
        state = newton_advance(state, sums, penalty, constant)
    return state


@given(seed=seeds, sites=st.integers(1, 9), penalty=st.sampled_from([0.01, 1.0, 30.0]))
@settings(max_examples=60, deadline=None)
def test_sites_sums_give_the_pooled_fit(make_cohort, fit, seed, sites, penalty):
    cohort = make_cohort(seed, rows=300, sites=sites, penalty=penalty)
    model = fit(cohort)
    matrix = model.design.transform(cohort.columns)
    pooled = LogisticRegression(solver="newton-cholesky", tol=1e-12, C=1 / penalty, max_iter=500)
    pooled.fit(matrix, cohort.events)
    beta = np.concatenate([pooled.intercept_, pooled.coef_[0]])
    hessian = information(matrix, beta, penalty)
    tolerance = 1e-8 * max(1.0, np.linalg.cond(hessian) / 1e4)
    np.testing.assert_allclose(
        np.concatenate([[model.intercept], model.coefficients]), beta, rtol=0, atol=tolerance
    )
    free = np.concatenate([[True], ~model.design.constant])
    errors = np.sqrt(np.diag(np.linalg.inv(hessian[np.ix_(free, free)])))
    np.testing.assert_allclose(model.standard_errors[free], errors, rtol=1e-5)
    assert (model.standard_errors[~free] == 0).all()
    assert (model.coefficients[model.design.constant] == 0).all()


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_without_penalty_it_is_the_maximum_likelihood_fit(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(500, 3))
    events = rng.random(500) < 1 / (1 + np.exp(1 - matrix @ [0.5, -1.0, 0.2]))
    state = solve(matrix, events, 0.0)
    pooled = LogisticRegression(solver="newton-cholesky", tol=1e-12, C=np.inf)
    pooled.fit(matrix, events)
    expected = np.concatenate([pooled.intercept_, pooled.coef_[0]])
    np.testing.assert_allclose(state.proposal, expected, rtol=0, atol=1e-8)


def test_sums_of_blocks_are_sums_of_rows():
    rng = np.random.default_rng(1)
    matrix, beta = rng.normal(size=(BLOCK + 7, 2)), np.array([0.1, -0.4, 2.0])
    events = rng.random(len(matrix)) < 0.3
    whole = newton_sums(matrix, events, beta[None])
    cut = newton_sums(matrix[:9], events[:9], beta[None]) + newton_sums(
        matrix[9:], events[9:], beta[None]
    )
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(array, cut.arrays()[name], rtol=1e-12)
    full = np.hstack([np.ones((len(matrix), 1)), matrix])
    np.testing.assert_allclose(
        whole.hessian[0], information(matrix[:0], beta, 0) + _hessian(full, beta), rtol=1e-10
    )


def _hessian(full, beta):
    risk = 1 / (1 + np.exp(-full @ beta))
    return (full * (risk * (1 - risk))[:, None]).T @ full


def test_several_candidates_at_once_are_each_alone():
    rng = np.random.default_rng(2)
    matrix, events = rng.normal(size=(50, 2)), rng.random(50) < 0.5
    candidates = rng.normal(size=(3, 3))
    together = newton_sums(matrix, events, candidates)
    for place in range(3):
        alone = newton_sums(matrix, events, candidates[place : place + 1])
        assert together.loss[place] == pytest.approx(alone.loss[0], rel=1e-14)
        np.testing.assert_allclose(together.hessian[place], alone.hessian[0], rtol=1e-13)


def test_gradient_and_hessian_are_derivatives_of_the_loss():
    rng = np.random.default_rng(3)
    matrix, events, beta = rng.normal(size=(40, 2)), rng.random(40) < 0.5, rng.normal(size=3)
    at = newton_sums(matrix, events, beta[None])
    width = 1e-5
    for place in range(3):
        shift = np.zeros(3)
        shift[place] = width
        up = newton_sums(matrix, events, (beta + shift)[None])
        down = newton_sums(matrix, events, (beta - shift)[None])
        slope = (up.loss[0] - down.loss[0]) / (2 * width)
        assert slope == pytest.approx(at.gradient[0, place], abs=1e-6)
        bend = (up.gradient[0] - down.gradient[0]) / (2 * width)
        np.testing.assert_allclose(bend, at.hessian[0, place], atol=1e-6)


def test_extreme_logits_stay_finite():
    sums = newton_sums(np.array([[1e4], [-1e4]]), np.array([False, True]), np.array([[0.0, 1.0]]))
    assert sums.loss[0] == pytest.approx(2e4)
    assert np.isfinite(sums.gradient).all()


def test_no_rows_add_nothing():
    empty = newton_sums(np.zeros((0, 2)), np.zeros(0, bool), np.zeros((1, 3)))
    assert all((array == 0).all() for array in empty.arrays().values())
    assert empty.hessian.shape == (1, 3, 3)


def test_a_state_taken_up_from_json_continues_identically():
    rng = np.random.default_rng(4)
    matrix, events = rng.normal(size=(200, 2)), rng.random(200) < 0.2
    constant = np.zeros(2, bool)
    state = newton_start(3, events.mean())
    while not state.done:
        stored = NewtonState.from_document(json.loads(json.dumps(state.document())))
        np.testing.assert_array_equal(stored.proposal, state.proposal)
        sums = newton_sums(matrix, events, state.proposal[None])
        state = newton_advance(state, sums, 1.0, constant)
        again = newton_advance(stored, sums, 1.0, constant)
        assert again.document() == state.document()


def test_a_full_step_that_raises_the_loss_is_halved():
    # One far row: from zero, Newton's step for it overshoots (logit 2 * 1e3 * step).
    matrix = np.concatenate([np.full(99, 0.01), [-30.0]])[:, None]
    events = np.concatenate([np.arange(99) % 2 == 0, [True]])
    constant = np.zeros(1, bool)
    state = NewtonState(np.array([0.0, 3.0]), np.zeros(2), 1.0, np.inf, np.zeros((2, 2)), 0, False)
    halved, losses = 0, []
    while not state.done:
        sums = newton_sums(matrix, events, state.proposal[None])
        state = newton_advance(state, sums, 0.01, constant)
        halved += state.damping < 1
        losses.append(state.loss)
    assert halved > 0
    assert all(later <= earlier + 1e-8 for earlier, later in pairwise(losses))
    gradient = newton_sums(matrix, events, state.proposal[None]).gradient[0]
    penalised = gradient + np.array([0, 0.01 * state.proposal[1]])
    np.testing.assert_allclose(penalised, 0, atol=1e-8)


@pytest.mark.parametrize("shift", [0.0, 1e-9])
def test_repeated_columns_without_penalty_are_refused(shift):
    rng = np.random.default_rng(5)
    column, events = rng.normal(size=300), rng.random(300) < 0.4
    twice = np.column_stack([column, column + shift * rng.normal(size=300)])
    with pytest.raises(ConvergenceError, match="repeat"):
        solve(twice, events, 0.0)
    assert solve(twice, events, 1.0).done


@pytest.mark.parametrize("rare", [False, True])
def test_separated_classes_without_penalty_are_refused(rare):
    rng = np.random.default_rng(6)
    column = rng.normal(size=2000)
    events = rng.random(2000) < 0.4 if rare else column > 0.1
    if rare:  # a level that one person has, who had the event
        column = np.zeros(2000)
        column[0], events[0] = 1.0, True
    matrix = ((column - column.mean()) / column.std())[:, None]
    with pytest.raises(ConvergenceError, match=r"separate") as caught:
        solve(matrix, events, 0.0)
    assert "penalty" in caught.value.hint
    assert solve(matrix, events, 1.0).done


@pytest.mark.parametrize("prevalence", [0.0, 1.0, float("nan")])
def test_one_class_is_refused(prevalence):
    with pytest.raises(ConvergenceError, match="same label"):
        newton_start(3, prevalence)


def test_a_loss_that_never_falls_ends():
    sums = newton_sums(np.ones((4, 1)), np.array([True, False, True, False]), np.zeros((1, 2)))
    state = NewtonState(np.zeros(2), np.ones(2), 1.0, 0.0, np.eye(2), 1, False)
    constant = np.zeros(1, bool)
    for _ in range(20):
        state = newton_advance(state, sums, 1.0, constant)
    with pytest.raises(ConvergenceError, match="no step"):
        newton_advance(state, sums, 1.0, constant)


def test_covariance_is_zero_for_constant_columns():
    hessian = np.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    covariance = posterior_covariance(hessian, np.array([False, True]))
    np.testing.assert_allclose(covariance[:2, :2], np.linalg.inv(hessian[:2, :2]), rtol=1e-14)
    assert (covariance[2] == 0).all()
    assert (covariance[:, 2] == 0).all()
