"""A site's part is its own: rows, faults, harm confined to it, and why it was not judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from detectors.score_worlds import counted

from fedrisk.monitoring.diagnosis import Signs
from fedrisk.monitoring.finding import Finding, WindowRecord
from fedrisk.monitoring.harm import Harm, Measured
from fedrisk.monitoring.per_site import site_verdicts
from fedrisk.monitoring.quality import Fault
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.monitoring.validity import Judgeable
from fedrisk.profiles.site_window import SiteWindow

START = datetime(2025, 1, 6, tzinfo=UTC)
END = START + timedelta(weeks=1)
RULES = VerdictRules()
CALM = Measured(Harm("none"))


def window(site: str, rows: int, events: int) -> SiteWindow:
    profile = counted(np.full(rows, -3.0), np.arange(rows) < events)
    return SiteWindow(site, START, END, profile, 50.0, 7.0)


WINDOWS = (window("a", 300, 9), window("a", 200, 4), window("b", 100, 1))


UNMOVED = Finding("pm25", "psi", 0.01, 0.1, 0.5, 0.9, found=False, sentence="It did not move.")


def told(measured=CALM, **more):
    quiet = (WindowRecord(START, END, 100.0, findings=(UNMOVED,)),)
    signs = Signs(
        recent=dict.fromkeys("abe", quiet),
        drifted={"b": ("pm25",)},
        importance={"pm25": 0.2},
        label_faults=more.pop("labels", {}),
        measured=measured,
        vanished=("c", "e"),
    )
    refused = {"b": ("2025: is empty",), "d": ("2025: ends in the future",)}
    return site_verdicts(signs, Judgeable(WINDOWS, refused, ("c", "e"), ()), RULES)


def test_a_site_counts_its_own_windows():
    found = told()
    assert set(found) == set("abcde")
    assert (found["a"].windows, found["a"].rows) == (2, 500)
    assert (found["a"].labelled, found["a"].events) == (500, 13)
    assert (found["b"].rows, found["b"].events) == (100, 1)
    assert (found["d"].windows, found["d"].rows) == (0, 0)


def test_a_site_has_its_own_status():
    found = told()
    assert {site: each.status for site, each in found.items()} == {
        "a": "stable",
        "b": "drift",
        "c": "insufficient evidence",
        "d": "insufficient evidence",
        "e": "monitor",  # its last window is old
    }
    assert (found["a"].drifted, found["b"].drifted) == ((), ("pm25",))


def test_harm_is_that_of_the_sites_that_it_is_confined_to():
    confined = told(Measured(Harm("measured"), "concept", ("a",)))
    assert (confined["a"].status, confined["b"].status) == ("harm", "drift")
    everywhere = told(Measured(Harm("measured"), "concept"))
    assert (everywhere["a"].status, everywhere["b"].status) == ("stable", "drift")
    estimated = told(Measured(Harm("estimated")))
    assert (estimated["a"].status, estimated["b"].status) == ("harm", "harm")


def test_reasons_are_faults_and_what_was_not_judged():
    fault = Fault("labels", "labels", 0.0, "no events came")
    found = told(labels={"b": (fault,)})
    assert found["b"].status == "quality"
    assert found["b"].reasons == ("no events came", "2025: is empty")
    assert found["a"].reasons == ()
    assert found["d"].reasons == ("2025: ends in the future",)
