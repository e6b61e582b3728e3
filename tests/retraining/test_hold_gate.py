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
        name: replace(each, log_loss=Estimate(losses[name], 0.001), brier=Estimate(0.0, 0.0005))
        for name, each in found.differences.items()
    }
    models = {
        name: replace(each, log_loss=Estimate(0.3 + losses.get(name, 0.0), 0.01))
        for name, each in found.models.items()
    }
    return replace(found, differences=differences, models=models)


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


def test_the_best_that_passes_goes_on_and_its_sentences_are_the_reason():
    held = hold_gate(_compared(recent=-0.02, refit=-0.05), STUDY, PLAN, (), START)
    assert (held.verdict, held.chosen) == ("pass", "refit")
    assert held.reason.startswith("refit: auroc: no worse")
    assert "recent" not in held.reason
    assert held.alpha == PLAN.spending.total * PLAN.spending.share


@pytest.mark.parametrize(("loss", "chosen"), [(-0.05, "recalibrated"), (-0.01, "refit")])
def test_a_recalibration_is_preferred_where_it_is_as_good(loss, chosen):
    found = _compared(refit=-0.05, recalibrated=loss, recent=-0.05)
    assert hold_gate(found, STUDY, PLAN, (), START).chosen == chosen


def test_where_none_passes_the_weightiest_verdict_is_told():
    """One is surely worse, one may be as good."""
    held = hold_gate(_compared(other=0.0, refit=0.05), STUDY, PLAN, (), START)
    assert (held.verdict, held.chosen) == ("refuse", None)
    assert held.reason.startswith("refit: ")
    assert "other" not in held.reason
    verdicts = held.document["challengers"]
    assert verdicts["other"]["verdict"] == "insufficient evidence"


@pytest.mark.parametrize(("left", "wanted"), [(300.0, True), (0.0, False)])
def test_untreated_rows_are_wanted_where_there_are_some(left, wanted):
    """Half of the events are of rows whose score led to care."""
    bands = {"high": {"rows": 1000.0, "treated": 1000.0 - left, "events": 400.0}}
    altered = replace(
        _compared(refit=-0.05),
        bands=bands,
        treated=1000.0 - left,
        treated_events=200.0,
        treated_expected=200.0,
    )
    held = hold_gate(altered, STUDY, PLAN, (), START)
    assert held.verdict == "not identifiable"
    assert held.wants_untreated is wanted
    assert held.alpha == 0
    assert not hold_gate(_compared(refit=-0.05), STUDY, PLAN, (), START).wants_untreated


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
