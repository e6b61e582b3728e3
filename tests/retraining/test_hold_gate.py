"""A gate over several challengers: the best that passes, and what it costs the next gate."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from retraining.worlds import PLAN, START, STUDY, comparison

from fedrisk.models.comparison import Estimate
from fedrisk.retraining.hold_gate import (
    Held,
    hold_gate,
    spending_record,
    spent_alpha,
    spent_rows,
)


def _compared(**losses):
    """A champion and challengers whose log losses differ from its own by so much."""
    found = comparison(["champion", *losses])
    differences = {
        name: replace(each, log_loss=Estimate(losses[name], 0.001))
        for name, each in found.differences.items()
    }
    return replace(found, differences=differences)


def test_too_few_events_are_insufficient_evidence_and_cost_no_rows():
    found = replace(_compared(refit=-0.05), events=5.0, effective_events=5.0)
    held = hold_gate(found, STUDY, PLAN, (), START)
    assert (held.verdict, held.chosen) == ("insufficient evidence", None)
    record = spending_record(held, START.isoformat(), START.isoformat(), START)
    assert spent_rows([record]) == ()


def test_each_challenger_is_named_and_judged():
    held = hold_gate(_compared(refit=0.05, other=0.05), STUDY, PLAN, (), START)
    assert held.verdict != "pass"
    assert set(held.document["challengers"]) == {"refit", "other"}
    assert held.reason


@pytest.mark.parametrize("verdict", ["pass", "refuse"])
def test_a_verdict_spends_rows_and_error_rate(verdict):
    held = Held(verdict, None, "", 0.01)
    until = (START + timedelta(days=7)).isoformat()
    record = spending_record(held, START.isoformat(), until, START)
    assert [span.until - span.since for span in spent_rows([record])] == [timedelta(days=7)]
    assert spent_alpha([record]) == ((START, 0.01),)


def test_what_was_spent_makes_the_next_gate_stricter():
    found = _compared(refit=0.05)
    first = hold_gate(found, STUDY, PLAN, (), START)
    record = spending_record(first, None, None, START)
    second = hold_gate(found, STUDY, PLAN, (record,), START)
    assert 0 < second.alpha < first.alpha
    assert spent_rows([record]) == ()
