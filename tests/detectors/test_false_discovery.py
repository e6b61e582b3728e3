"""Online false discoveries: Benjamini-Hochberg in a batch, earned levels, epochs, the rate kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, norm

from fedrisk.detectors.false_discovery import FalseDiscovery
from fedrisk.errors import HomeError

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(P_VALUES)
def test_one_check_of_an_epoch_of_one_is_benjamini_hochberg(p):
    _, found = FalseDiscovery(rate=0.1, epoch=1).test(p)
    assert np.allclose([one.q_value for one in found], false_discovery_control(p))


@given(P_VALUES, st.integers(0, 100))
def test_discoveries_earn_level_and_no_more(p, before):
    _, poor = FalseDiscovery(epoch=4, checks=1).test(p)
    _, rich = FalseDiscovery(epoch=4, checks=1, found=before).test(p)
    for one, other in zip(poor, rich, strict=True):
        assert other.q_value <= one.q_value
        assert one.q_value <= other.q_value * (len(p) + before) / len(p) + 1e-12


def test_an_epoch_ends_and_forgets():
    state = FalseDiscovery(epoch=2)
    state, _ = state.test([1e-9, 0.5])
    assert (state.checks, state.found) == (1, 1)
    state, _ = state.test([1e-9, 0.5])
    assert (state.checks, state.found) == (0, 0)


def test_nothing_to_test_is_no_check():
    state = FalseDiscovery(checks=3, found=2)
    assert state.test([]) == (state, [])


def test_the_rate_of_false_discoveries_is_kept_under_positive_dependence():
    rng = np.random.default_rng(0)
    epochs, features, epoch = 600, 20, 5
    rates = []
    for _ in range(epochs):
        common = rng.standard_normal()
        state, false, total = FalseDiscovery(rate=0.2, epoch=epoch), 0, 0
        for _ in range(epoch):
            common = 0.7 * common + np.sqrt(1 - 0.49) * rng.standard_normal()
            z = np.sqrt(0.5) * common + np.sqrt(0.5) * rng.standard_normal(features)
            z[:5] += 3.5
            state, found = state.test(norm.sf(z))
            total += sum(one.found for one in found)
            false += sum(one.found for one in found[5:])
        rates.append(false / max(total, 1))
    assert np.mean(rates) <= 0.2 * 15 / 20 + 3 * np.std(rates) / np.sqrt(epochs)
    assert np.mean(rates) > 0


def test_a_document_comes_back_and_a_wrong_one_does_not():
    state = FalseDiscovery(rate=0.05, epoch=7, checks=3, found=2)
    assert FalseDiscovery.from_document(state.document()) == state
    with pytest.raises(HomeError, match="not the state"):
        FalseDiscovery.from_document({"rate": 0.1})
