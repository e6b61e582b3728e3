"""A gate judges rows that nobody fitted on, that are mature, and that no gate judged before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.retraining.gate_rows import Span, gate_rows
from fedrisk.study import Study, parse_study

NOW = datetime(2024, 7, 1, tzinfo=UTC)


def study(**changed: object) -> Study:
    document = {
        "name": "timed",
        "label": "event",
        "positive": [1],
        "time": "day",
        "horizon": "30d",
        "reporting_lag": "2w",
        "features": [{"name": "x", "kind": "number"}],
    }
    return parse_study({**document, **changed})


def days(*ages: int) -> list[datetime]:
    return [NOW - timedelta(days=age) for age in ages]


def test_rows_begin_after_the_later_fit_and_end_where_labels_are_mature():
    allowed = gate_rows(study(), days(200, 90), NOW)
    assert allowed.span == Span(*days(90, 44))
    assert "fits end" in allowed.reason


def test_rows_of_an_earlier_gate_are_not_judged_again():
    spent = [Span(*days(90, 60)), Span(*days(120, 100))]
    allowed = gate_rows(study(), days(200, 150), NOW, spent)
    assert allowed.span == Span(*days(60, 44))
    assert "earlier gate" in allowed.reason


@pytest.mark.parametrize("fits", [(200, 44), (200, 10), (30, 300)])
def test_nothing_is_left_where_a_fit_reaches_the_immature_rows(fits):
    allowed = gate_rows(study(), days(*fits), NOW)
    assert allowed.span is None
    assert "nothing lies between" in allowed.reason


def test_without_time_no_row_is_known_to_be_later():
    untimed = study(time=None, horizon="0d", reporting_lag="0d")
    allowed = gate_rows(untimed, days(10), NOW)
    assert allowed.span is None
    assert "names no time" in allowed.reason


@given(
    fits=st.lists(st.integers(0, 400), min_size=1, max_size=4),
    gates=st.lists(st.tuples(st.integers(1, 400), st.integers(0, 400)), max_size=4),
)
def test_allowed_rows_overlap_nothing_that_was_used(fits, gates):
    spent = [Span(*days(max(pair), min(pair))) for pair in gates]
    allowed = gate_rows(study(), days(*fits), NOW, spent).span
    if allowed is not None:
        assert allowed.since < allowed.until <= NOW - timedelta(days=44)
        assert all(allowed.since >= until for until in days(*fits))
        assert all(allowed.since >= span.until for span in spent)
