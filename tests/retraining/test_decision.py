"""What a verdict leads to: every combination is decided, and broken data never retrain."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.monitoring.verdict import Diagnosis, Harm, Severity, SiteVerdict, Status, Verdict
from fedrisk.retraining.decision import Action, Decision, DecisionRules, Situation, Trigger, decide

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RULES = DecisionRules()
FITS = ("retrain", "recalibrate")
KINDS = ("measured", "estimated", "none", "unknown")


def a_verdict(
    status: Status,
    diagnosis: Diagnosis = "none",
    kind: str = "none",
    out_of_line: tuple[str, ...] = (),
    severity: Severity = "medium",
) -> Verdict:
    site_status: Status = "quality" if status == "quality" else "stable"
    per_site = {
        "a": SiteVerdict(site_status, 2, 800.0, 0.0, 0.0),
        "b": SiteVerdict("stable", 2, 800.0, 0.0, 0.0),
    }
    harm = Harm(kind)  # type: ignore[arg-type]
    return Verdict(status, severity, diagnosis, NOW, "s", per_site, {}, harm, (), out_of_line)


def a_situation(trigger: Trigger = "drift", **changes) -> Situation:
    return Situation(**({"now": NOW, "trigger": trigger, "rows": 5e3, "events": 200.0} | changes))


TABLE = [
    # status, diagnosis, harm, out of line, trigger, action
    ("stable", "none", "none", (), "drift", "none"),
    ("stable", "season", "none", (), "drift", "none"),
    ("stable", "none", "none", (), "scheduled", "retrain"),
    ("stable", "none", "none", (), "manual", "retrain"),
    ("monitor", "covariate", "none", (), "drift", "monitor"),
    ("monitor", "covariate", "none", (), "scheduled", "retrain"),
    ("drift", "covariate", "none", (), "drift", "investigate"),
    ("drift", "covariate", "none", (), "scheduled", "retrain"),
    ("drift", "site out of line", "none", ("b",), "drift", "site out of line"),
    ("drift", "site out of line", "none", ("b",), "scheduled", "site out of line"),
    ("drift", "site out of line", "none", ("b",), "manual", "retrain"),
    ("harm", "concept", "measured", (), "drift", "retrain"),
    ("harm", "ageing", "measured", (), "drift", "retrain"),
    ("harm", "covariate", "measured", (), "drift", "retrain"),
    ("harm", "prevalence", "measured", (), "drift", "recalibrate"),
    ("harm", "calibration", "measured", (), "drift", "recalibrate"),
    ("harm", "calibration", "measured", (), "scheduled", "recalibrate"),
    ("harm", "site out of line", "measured", ("b",), "drift", "site out of line"),
    ("harm", "covariate", "estimated", (), "drift", "investigate"),
    ("harm", "covariate", "estimated", (), "scheduled", "retrain"),
    ("quality", "quality", "none", (), "drift", "quality block"),
    ("quality", "quality", "measured", (), "scheduled", "quality block"),
    ("quality", "quality", "measured", ("b",), "manual", "quality block"),
    ("insufficient evidence", "none", "unknown", (), "drift", "monitor"),
    ("insufficient evidence", "none", "unknown", (), "scheduled", "monitor"),
    ("insufficient evidence", "none", "unknown", (), "manual", "retrain"),
]


@pytest.mark.parametrize(("status", "diagnosis", "kind", "sites", "trigger", "action"), TABLE)
def test_what_leads_to_what(status, diagnosis, kind, sites, trigger, action):
    decision = decide(a_verdict(status, diagnosis, kind, sites), a_situation(trigger), RULES)
    assert (decision.action, decision.wanted) == (action, action)


def test_estimated_harm_is_acted_on_where_the_rules_say_so():
    verdict = a_verdict("harm", "covariate", "estimated")
    rules = DecisionRules(act_on_estimate=True)
    assert decide(verdict, a_situation(), rules).action == "retrain"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"running": True}, "under way"),
        ({"rows": 999.0}, "999 mature rows"),
        ({"events": 49.0}, "49 events"),
        ({"retrainings": (NOW - timedelta(days=13),)}, "13.0 of 14 days ago"),
        ({"retrainings": tuple(NOW - timedelta(days=20 + 20 * i) for i in range(6))}, "6 of 6"),
    ],
)
def test_what_stands_against_a_retraining_is_told(changes, told):
    harm = decide(a_verdict("harm", "concept", "measured"), a_situation(**changes), RULES)
    assert (harm.action, harm.wanted) == ("investigate", "retrain")
    assert told in harm.reason
    calendar = decide(a_verdict("stable"), a_situation("scheduled", **changes), RULES)
    assert (calendar.action, calendar.wanted) == ("monitor", "retrain")


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 1000.0},
        {"events": 50.0},
        {"retrainings": (NOW - timedelta(days=14),)},
        {"retrainings": tuple(NOW - timedelta(days=20 + 32 * i) for i in range(6))},
    ],
)
def test_as_much_as_is_demanded_suffices(changes):
    harm = decide(a_verdict("harm", "concept", "measured"), a_situation(**changes), RULES)
    assert harm.action == "retrain"


def test_retrainings_that_are_long_past_hinder_nothing():
    past = tuple(NOW - timedelta(days=days) for days in (14, 181, 190, 200, 300, 400, 500))
    situation = a_situation(retrainings=past)
    assert decide(a_verdict("harm", "concept", "measured"), situation, RULES).action == "retrain"


def test_cooldown_and_budget_do_not_bind_a_person():
    situation = a_situation("manual", retrainings=(NOW,) * 10)
    assert decide(a_verdict("stable"), situation, RULES).action == "retrain"


@pytest.mark.parametrize(("trigger", "asked"), [("drift", True), ("manual", False)])
def test_a_person_approves_what_no_person_asked_for(trigger, asked):
    rules = DecisionRules(approval="person")
    decision = decide(a_verdict("harm", "concept", "measured"), a_situation(trigger), rules)
    assert (decision.action, decision.needs_approval) == ("retrain", asked)
    assert not decide(a_verdict("stable"), a_situation(), rules).needs_approval


def test_the_sites_that_are_meant_are_named():
    broken = decide(a_verdict("quality"), a_situation(), RULES)
    assert broken.sites == ("a",)
    alone = decide(a_verdict("drift", "site out of line", "none", ("b",)), a_situation(), RULES)
    assert alone.sites == ("b",)
    assert json.loads(json.dumps(alone.document()))["sites"] == ["b"]


VERDICTS = st.builds(
    a_verdict,
    st.sampled_from(get_args(Status)),
    st.sampled_from(get_args(Diagnosis)),
    st.sampled_from(KINDS),
    st.sampled_from([(), ("b",)]),
    st.sampled_from(get_args(Severity)),
)
SITUATIONS = st.builds(
    Situation,
    st.just(NOW),
    st.sampled_from(get_args(Trigger)),
    st.lists(st.floats(0, 400).map(lambda d: NOW - timedelta(days=d)), max_size=8).map(tuple),
    st.booleans(),
    st.floats(0, 1e6),
    st.floats(0, 1e4),
)
SETS_OF_RULES = st.builds(
    DecisionRules,
    cooldown_days=st.floats(0, 60),
    budget=st.integers(0, 8),
    approval=st.sampled_from(["person", "plan"]),
    act_on_estimate=st.booleans(),
)


@given(VERDICTS, SITUATIONS, SETS_OF_RULES)
def test_no_decision_breaks_its_bounds(verdict, situation, rules):
    decision = decide(verdict, situation, rules)
    assert decision.action in get_args(Action)
    assert decision.reason
    assert decision == decide(verdict, situation, rules)
    if verdict.status == "quality":
        assert decision.action == "quality block"
    if decision.action in FITS:
        assert not situation.running
        assert situation.rows >= rules.least_rows
        assert situation.events >= rules.least_events
        assert decision.action == decision.wanted
        if situation.trigger != "manual":
            ages = [(NOW - began).total_seconds() / 86_400 for began in situation.retrainings]
            assert all(age >= rules.cooldown_days for age in ages)
            assert sum(age < rules.budget_days for age in ages) < rules.budget
    if situation.trigger == "drift" and decision.wanted in FITS:
        assert verdict.status == "harm"
        assert verdict.harm.kind == "measured" or rules.act_on_estimate
    assert decision.needs_approval <= (decision.action in FITS)


def test_a_retraining_that_seems_to_lie_years_ahead_bars_no_other():
    ahead = a_situation("scheduled", retrainings=(NOW + timedelta(days=4_000),))
    assert decide(a_verdict("stable"), ahead, RULES).action == "retrain"


@given(VERDICTS, SITUATIONS, SETS_OF_RULES)
def test_more_rows_and_no_history_never_hinder(verdict, situation, rules):
    eased = Situation(NOW, situation.trigger, (), False, 1e7, 1e6)
    before, after = (decide(verdict, each, rules) for each in (situation, eased))
    assert before.wanted == after.wanted
    if before.action in FITS:
        assert after.action == before.action


def test_every_combination_has_a_decision():
    every = product(get_args(Status), get_args(Diagnosis), KINDS, ((), ("b",)), get_args(Trigger))
    for status, diagnosis, kind, sites, trigger in every:
        decision = decide(a_verdict(status, diagnosis, kind, sites), a_situation(trigger), RULES)
        assert isinstance(decision, Decision)
