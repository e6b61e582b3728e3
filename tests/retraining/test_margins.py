"""Error rates are spent over gates and come back with time; margins are read strictly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedrisk.retraining.margins import Margins, Spending, SpendingRules

NOW = datetime(2024, 1, 1, tzinfo=UTC)


@given(st.lists(st.floats(0, 60), max_size=60), st.floats(0.01, 0.5), st.floats(0.05, 1))
def test_no_year_spends_more_than_the_total(gaps, total, share):
    rules = SpendingRules(total=total, share=share)
    spending, now = Spending(rules), NOW
    for gap in gaps:
        now += timedelta(days=gap)
        spending = spending.after(now, spending.alpha(now))
    for begin, _ in spending.spent:
        year = [a for when, a in spending.spent if begin <= when < begin + timedelta(days=365)]
        assert sum(year) <= total * (1 + 1e-9)


def test_weekly_gates_go_on_for_years():
    spending, alphas = Spending(), []
    for week in range(200):
        now = NOW + timedelta(weeks=week)
        alphas.append(spending.alpha(now))
        spending = spending.after(now, alphas[-1])
    assert alphas[0] == 0.025
    assert sum(alpha > 0 for alpha in alphas[100:]) > 40


def test_spent_error_comes_back():
    spending = Spending().after(NOW, 0.0999)
    assert spending.alpha(NOW + timedelta(days=1)) == 0
    assert spending.alpha(NOW + timedelta(days=366)) == 0.025


def test_nothing_spent_changes_nothing():
    spending = Spending()
    assert spending.after(NOW, 0.0) is spending


def test_the_document_brings_the_spending_back():
    spending = Spending(SpendingRules(total=0.2)).after(NOW, 0.05)
    assert Spending.from_document(spending.document()) == spending


@pytest.mark.parametrize(
    "wrong", [{"auroc": 0}, {"slope_low": 1.2}, {"doubt": 0.2}, {"unknown": 1}, {"brier": "nan"}]
)
def test_margins_out_of_range_are_errors(wrong):
    with pytest.raises(ValidationError):
        Margins(**wrong)


def test_rules_that_never_hold_a_gate_are_errors():
    with pytest.raises(ValidationError, match="below the least"):
        SpendingRules(total=0.001, share=0.1)
