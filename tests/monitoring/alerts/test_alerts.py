"""Alerts are made from what commands answer: the right kind, the right level, nothing twice."""

from __future__ import annotations

import pytest

from fedrisk.monitoring.alerts.alert import drift_alerts, failure_alert, loop_alerts


def verdict(status: str, severity: str = "none", **more: object) -> dict:
    return {"verdict": status, "severity": severity, "diagnosis": "covariate", **more}


@pytest.mark.parametrize(
    ("status", "severity", "kind", "level"),
    [
        ("drift", "low", "drift", "low"),
        ("drift", "high", "drift", "high"),
        ("harm", "low", "harm", "medium"),
        ("harm", "high", "harm", "high"),
        ("quality", "none", "quality", "high"),
        ("insufficient evidence", "none", "evidence", "low"),
    ],
)
def test_a_verdict_is_told_by_its_status(status, severity, kind, level) -> None:
    (alert,) = drift_alerts("m", verdict(status, severity, sentences=["one", "two"]))
    assert (alert.kind, alert.level, alert.subject, alert.text) == (kind, level, "m", "one\ntwo")


@pytest.mark.parametrize("status", ["stable", "monitor"])
def test_what_needs_nobody_is_told_to_nobody(status: str) -> None:
    assert drift_alerts("m", verdict(status)) == ()


def test_broken_data_are_told_by_site() -> None:
    per_site = {
        "north": {"status": "quality", "reasons": ["temperature looks like degrees Fahrenheit"]},
        "south": {"status": "stable", "reasons": []},
    }
    (alert,) = drift_alerts("m", verdict("quality", "high", per_site=per_site))
    assert (alert.kind, alert.subject) == ("quality", "north")
    assert "Fahrenheit" in alert.text


def test_a_site_out_of_line_is_a_trouble_of_its_own() -> None:
    found = drift_alerts("m", verdict("drift", "medium", sites_out_of_line=["west"]))
    assert [(each.kind, each.subject) for each in found] == [("drift", "m"), ("site", "west")]


@pytest.mark.parametrize(
    ("state", "kind", "level"),
    [
        ("awaiting approval", "approval", "medium"),
        ("refused", "gate", "medium"),
        ("returned", "returned", "high"),
        ("abandoned", "abandoned", "high"),
    ],
)
def test_a_retraining_is_told_by_its_state(state, kind, level) -> None:
    document = {"state": state, "reason": "why", "challenger": "3", "champion": "2"}
    (alert,) = loop_alerts("m", document)
    assert (alert.kind, alert.level, alert.text) == (kind, level, "why")


def test_a_new_champion_is_told_and_a_retraining_without_one_is_not() -> None:
    done = {"state": "done", "champion": "3", "challenger": None, "reason": ""}
    (alert,) = loop_alerts("m", done | {"released": True})
    assert (alert.kind, alert.level) == ("released", "low")
    assert loop_alerts("m", done | {"released": False}) == ()
    assert loop_alerts("m", {"state": "shadow"}) == ()


def test_one_trouble_has_one_name() -> None:
    assert failure_alert("drift", 6, "a").key == failure_alert("drift", 8, "b").key
    assert failure_alert("drift", 6, "a").key != failure_alert("retrain", 6, "a").key
