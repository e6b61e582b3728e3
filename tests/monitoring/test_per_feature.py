"""What is told of a feature is the site and window that show it best."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fedrisk.monitoring.diagnosis import Signs
from fedrisk.monitoring.finding import Finding, WindowRecord
from fedrisk.monitoring.harm import Harm, Measured
from fedrisk.monitoring.per_feature import feature_verdicts
from fedrisk.monitoring.rules import VerdictRules

START = datetime(2025, 1, 6, tzinfo=UTC)


def records(*effects: float, found: bool = True) -> tuple[WindowRecord, ...]:
    """Weeks in which PM2.5 is so many times as far as matters."""
    return tuple(
        WindowRecord(
            START + timedelta(weeks=week),
            START + timedelta(weeks=week + 1),
            500.0,
            findings=(Finding("pm25", "psi", effect / 10, effect, 0.01, 0.02, found, "Moved"),),
        )
        for week, effect in enumerate(effects)
    )


def told(recent, drifted=()):
    importance = {"pm25": 0.2}
    signs = Signs(recent, dict(drifted), importance, {}, Measured(Harm("none")))
    return feature_verdicts(signs, VerdictRules())["pm25"]


def test_without_drift_the_largest_effect_of_the_newest_windows_is_told():
    found = told({"a": records(9.0, 0.5), "b": records(0.8), "c": records(0.6)})
    assert (found.site, found.effect, found.drifted, found.importance) == ("b", 0.8, False, 0.2)
    assert (found.p_value, found.q_value, found.statistic) == (0.01, 0.02, 0.08)


def test_a_drift_is_told_before_a_larger_effect_that_did_not_last():
    recent = {"a": records(9.0), "b": records(3.0, 2.0), "c": records(2.5)}
    found = told(recent, {"b": ("pm25",), "c": ("pm25",)})
    assert (found.site, found.effect, found.drifted) == ("b", 3.0, True)
