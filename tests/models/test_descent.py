from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from fedrisk.models.descent import descend


def rows_of(seed, rows=200):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, 2))
    return matrix, rng.random(rows) < 1 / (1 + np.exp(1 - matrix @ [1.0, -0.5]))


def loss(matrix, events, beta, ridge):
    logit = beta[0] + matrix @ beta[1:]
    return np.mean(np.logaddexp(0, logit) - events * logit) + ridge / 2 * np.sum(beta[1:] ** 2)


def test_many_steps_reach_the_penalised_fit_of_the_sites_own_rows():
    matrix, events = rows_of(0)
    update = descend(matrix, events, np.zeros(3), steps=3000, learning_rate=1.0, ridge=2.0 / 200)
    own = LogisticRegression(solver="newton-cholesky", tol=1e-12, C=1 / 2.0).fit(matrix, events)
    np.testing.assert_allclose(update.parameters, [*own.intercept_, *own.coef_[0]], atol=1e-8)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1.0), st.floats(0, 5))
def test_every_step_lowers_the_loss(seed, learning_rate, ridge):
    matrix, events = rows_of(seed, rows=30)
    beta = np.array([3.0, -2.0, 4.0])
    for _ in range(5):
        update = descend(
            matrix, events, beta, steps=1, learning_rate=learning_rate, ridge=ridge
        ).parameters
        assert loss(matrix, events, update, ridge) <= loss(matrix, events, beta, ridge) + 1e-12
        beta = update


def test_the_proximal_term_holds_the_update_near_its_start():
    matrix, events = rows_of(1)
    start = np.array([2.0, 2.0, 2.0])
    moved = [
        np.linalg.norm(
            descend(
                matrix, events, start, steps=500, learning_rate=1.0, ridge=0.0, proximal=weight
            ).parameters
            - start
        )
        for weight in (0.0, 0.1, 1.0, 100.0)
    ]
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < 0.01 * moved[0]


def test_a_site_without_rows_answers_what_it_was_given():
    start = np.array([1.0, 2.0, 3.0])
    update = descend(
        np.zeros((0, 2)), np.zeros(0, bool), start, steps=5, learning_rate=1.0, ridge=0.1
    )
    np.testing.assert_array_equal(update.parameters, start)


def test_the_start_is_not_changed():
    matrix, events = rows_of(2)
    start = np.zeros(3)
    descend(matrix, events, start, steps=3, learning_rate=1.0, ridge=0.0)
    assert (start == 0).all()
