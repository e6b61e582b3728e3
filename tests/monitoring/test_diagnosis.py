"""From signs to a word: every rule of status, diagnosis and severity, on signs made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fedrisk.monitoring.diagnosis import (
    Signs,
    diagnosis_of,
    seasonal_subjects,
    severity_of,
    sites_out_of_line,
    status_of,
)
from fedrisk.monitoring.finding import Finding, WindowRecord
from fedrisk.monitoring.harm import Harm, Measured
from fedrisk.monitoring.quality import Fault
from fedrisk.monitoring.rules import VerdictRules

START = datetime(2025, 1, 6, tzinfo=UTC)
RULES = VerdictRules()
IMPORTANCE = {"pm25": 0.2, "o3": 0.05, "steps": 0.01}
CALM = Measured(Harm("none"))


def finding(subject="o3", *, found=True, effect=2.0, p_value=1e-6, detector="psi") -> Finding:
    return Finding(subject, detector, effect / 10, effect, p_value, p_value, found, "It moved.")


def record(*findings, week=0, faults=(), seasonal=()) -> WindowRecord:
    start = START + timedelta(weeks=week)
    end = start + timedelta(weeks=1)
    return WindowRecord(start, end, 500.0, tuple(faults), tuple(findings), tuple(seasonal))


QUIET = record(finding(found=False))
MOVED = record(finding())


def signs(recent, drifted=None, measured=CALM, labels=None, **more) -> Signs:
    """Sites' records, one or several each; subjects that drifted by site."""
    recent = {s: r if isinstance(r, tuple) else (r,) for s, r in recent.items()}
    drifted = {s: tuple(names) for s, names in (drifted or {}).items()}
    return Signs(recent, drifted, IMPORTANCE, labels or {}, measured, **more)


def harm(kind="measured", cause="none", sites=(), **figures) -> Measured:
    return Measured(Harm(kind, figures), cause, sites)


FAULT = Fault("missing", "o3", 0.4, "o3 lacks values")
UNKNOWN = harm("unknown")
UNTOLD = record(finding(found=False, p_value=None))


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (signs({"a": QUIET}), "stable"),
        (signs({"a": QUIET}, measured=UNKNOWN), "stable"),
        (signs({"a": MOVED}), "monitor"),
        (signs({"a": (MOVED, QUIET)}), "monitor"),
        (signs({"a": QUIET}, vanished=("b",)), "monitor"),
        (signs({"a": QUIET}, overdue=True), "monitor"),
        (signs({"a": UNTOLD}), "monitor"),
        (signs({"a": UNTOLD}, measured=UNKNOWN), "insufficient evidence"),
        (signs({"a": UNTOLD, "b": QUIET}, measured=UNKNOWN), "stable"),
        (signs({}), "insufficient evidence"),
        (signs({"a": MOVED}, {"a": ["o3"]}), "drift"),
        (signs({"a": MOVED}, {"a": ["score"]}), "drift"),
        (signs({"a": record(finding("steps"))}, {"a": ["steps"]}), "monitor"),
        (signs({"a": QUIET}, measured=harm("estimated")), "harm"),
        (signs({"a": MOVED}, {"a": ["o3"]}, harm("measured", "concept")), "harm"),
        (signs({"a": record(faults=[FAULT])}, measured=harm("measured")), "quality"),
        (signs({"a": QUIET}, labels={"b": (FAULT,)}), "quality"),
        (signs({}, labels={"b": (FAULT,)}), "quality"),
    ],
)
def test_faults_come_before_harm_and_harm_before_drift(made, status):
    assert status_of(made, RULES) == status


FOUR = {"a": MOVED, "b": QUIET, "c": QUIET, "d": QUIET}


@pytest.mark.parametrize(
    ("made", "sites"),
    [
        (signs(FOUR, {"a": ["o3"]}), ("a",)),
        (signs(FOUR | {"b": MOVED}, {"b": ["o3"], "a": ["o3"]}), ("a", "b")),
        (signs(FOUR | {"b": MOVED}, {"a": ["o3"]}), ("a",)),
        (signs(FOUR | {"b": MOVED, "c": MOVED}, {"a": ["o3"]}), ()),
        (signs(FOUR | {"b": MOVED, "c": (MOVED, QUIET)}, {"a": ["o3"]}), ()),
        (signs(FOUR | dict.fromkeys("bc", record(finding("pm25"))), {"a": ["o3"]}), ("a",)),
        (signs(FOUR | dict.fromkeys("bcd", MOVED), dict.fromkeys("abcd", ("o3",))), ()),
        (signs(FOUR, {"a": ["steps"]}), ()),
        (signs({"a": MOVED}, {"a": ["o3"]}), ()),
        (signs(FOUR), ()),
        (signs(FOUR, {"a": ["o3"]}, harm(sites=("b",))), ("b",)),
        (signs(FOUR, {"a": ["o3"]}, harm()), ()),
    ],
)
def test_a_site_is_out_of_line_where_most_others_show_nothing_of_it(made, sites):
    assert sites_out_of_line(made, RULES) == sites


EVERYWHERE = dict.fromkeys("abc", MOVED), dict.fromkeys("abc", ("o3",))
LOST = record(finding(detector="missingness"))


@pytest.mark.parametrize(
    ("made", "status", "diagnosis"),
    [
        (signs({"a": record(faults=[FAULT])}), "quality", "quality"),
        (signs(FOUR, {"a": ["o3"]}), "drift", "site out of line"),
        (signs(FOUR, measured=harm("measured", "concept", ("b",))), "harm", "site out of line"),
        (signs(FOUR, measured=harm("measured", "prevalence")), "harm", "prevalence"),
        (signs(FOUR, measured=harm("measured", "ageing")), "harm", "ageing"),
        (signs(*EVERYWHERE, harm("measured", "prevalence")), "harm", "covariate"),
        (signs(*EVERYWHERE, harm("measured", "concept")), "harm", "concept"),
        (signs(FOUR, dict.fromkeys("ab", ("o3",)), harm(cause="ageing")), "harm", "ageing"),
        (signs(*EVERYWHERE), "drift", "covariate"),
        (signs(*EVERYWHERE, harm("estimated")), "harm", "covariate"),
        (signs(dict.fromkeys("ab", LOST), dict.fromkeys("ab", ("o3",))), "drift", "quality"),
        (signs({"a": LOST, "b": MOVED}, dict.fromkeys("ab", ("o3",))), "drift", "covariate"),
        (signs({"a": record(seasonal=["o3"])}), "stable", "season"),
        (signs({"a": record(seasonal=["steps"])}), "stable", "none"),
        (signs({"a": record(seasonal=["o3"])}), "monitor", "none"),
        (signs({"a": QUIET}), "stable", "none"),
    ],
)
def test_what_is_the_matter(made, status, diagnosis):
    assert diagnosis_of(made, status, RULES) == diagnosis


def test_a_season_is_told_of_the_newest_window_alone():
    past, now = record(seasonal=["o3"]), record(seasonal=["pm25", "steps"], week=1)
    assert seasonal_subjects(signs({"a": (past, now)}), RULES) == ("pm25",)


@pytest.mark.parametrize(
    ("made", "status", "severity"),
    [
        (signs({"a": QUIET}), "stable", "none"),
        (signs({"a": MOVED}), "monitor", "low"),
        (signs({"a": record(faults=[FAULT])}), "quality", "medium"),
        (
            signs({"a": QUIET}, labels={"a": (Fault("labels", "labels", 0.0, ""),)}),
            "quality",
            "high",
        ),
        (
            signs({"a": record(faults=[FAULT, Fault("unit", "pm25", 1.0, "")])}),
            "quality",
            "high",
        ),
        (signs({"a": MOVED}, {"a": ["o3"]}), "drift", "low"),
        (signs({"a": record(finding(effect=5.0))}, {"a": ["o3"]}), "drift", "medium"),
        (signs({"a": record(finding("pm25"))}, {"a": ["pm25"]}), "drift", "medium"),
        (signs({"a": QUIET}, measured=harm(observed_expected=1.5)), "harm", "high"),
        (signs({"a": QUIET}, measured=harm(observed_expected=0.6)), "harm", "high"),
        (signs({"a": QUIET}, measured=harm(observed_expected=1.4)), "harm", "medium"),
        (signs({"a": QUIET}, measured=harm(observed_expected=None)), "harm", "medium"),
        (signs({"a": QUIET}, measured=harm(auroc=0.6, promised_auroc=0.71)), "harm", "high"),
        (signs({"a": QUIET}, measured=harm(auroc=0.65, promised_auroc=0.71)), "harm", "medium"),
        (signs({"a": QUIET}, measured=harm("estimated", observed_expected=2.0)), "harm", "medium"),
    ],
)
def test_how_much_it_matters(made, status, severity):
    assert severity_of(made, status, RULES) == severity


def test_the_strongest_finding_is_a_discovery_before_it_is_large():
    weeks = (
        record(finding(effect=9.0, found=False)),
        record(finding(effect=2.0), week=1),
        record(finding(effect=3.0), finding("pm25", effect=8.0), week=2),
    )
    made = signs({"a": weeks})
    assert made.strongest("a", "o3") == finding(effect=3.0)
    assert made.strongest("a", "steps") is None
    assert made.strongest("b", "o3") is None


def test_a_fault_of_a_subject_is_told_once_as_it_is_now():
    newest = Fault("missing", "o3", 0.8, "o3 lacks most values")
    labels = Fault("labels", "labels", 0.0, "no events")
    made = signs(
        {"a": (record(faults=[FAULT]), record(faults=[newest], week=1))}, labels={"a": (labels,)}
    )
    assert made.faults("a") == (newest, labels)
    assert made.broken == ("a",)
