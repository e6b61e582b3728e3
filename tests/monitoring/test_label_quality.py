"""Labels that cannot be right are told from luck, from rare events and from common ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from detectors.score_worlds import counted
from scipy.stats import poisson

from fedrisk.detectors.score_bins import bin_risks
from fedrisk.monitoring.label_quality import is_labelled, label_faults, poisson_at_most
from fedrisk.monitoring.outcomes import Outcomes
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.profiles.site_window import SiteWindow

START = datetime(2025, 1, 6, tzinfo=UTC)
RULES = VerdictRules()


def outcomes(expected: float, observed: float, risk: float) -> list[Outcomes]:
    """Rows of one risk of which so many events are expected, and so many came."""
    place = int(np.argmin(np.abs(bin_risks() - risk)))
    labelled, events = np.zeros(194), np.zeros(194)
    labelled[place], events[place] = expected / bin_risks()[place], observed
    profile = counted(np.zeros(1), np.zeros(1))
    return [Outcomes("a", START, START + timedelta(weeks=1), "DJF", labelled, events, profile)]


@pytest.mark.parametrize(
    ("expected", "observed", "risk", "told"),
    [
        (100.0, 10.0, 0.03, ["seem to be missing"]),
        (40.0, 4.0, 0.03, ["seem to be missing"]),
        (40.0, 7.0, 0.03, []),  # half as many are due, and luck
        (6.0, 0.0, 0.03, []),  # luck
        (1000.0, 350.0, 0.03, []),  # surely fewer, and yet not missing
        (30.0, 600.0, 0.03, ["exchanged"]),
        (600.0, 600.0, 0.6, []),  # common events
        (30.0, 400.0, 0.03, []),  # many more than expected, and yet the rarer outcome
    ],
)
def test_what_cannot_be_is_a_fault_and_what_may_be_is_none(expected, observed, risk, told):
    found = label_faults(outcomes(expected, observed, risk), RULES)
    assert len(found) == len(told)
    assert all(words in fault.sentence for words, fault in zip(told, found, strict=True))


@pytest.mark.parametrize("mean", [0.3, 4.0, 80.0])
def test_the_chance_of_so_few_events_is_poissons(mean):
    told = [poisson_at_most(count, mean) for count in range(0, 120, 7)]
    assert told == pytest.approx(poisson.cdf(range(0, 120, 7), mean), rel=1e-9)
    assert poisson_at_most(3, 0.0) == 1.0


@pytest.mark.parametrize(("share", "told"), [(1.0, True), (0.8, True), (0.5, False), (0.0, False)])
def test_a_window_is_labelled_where_most_scored_rows_are(share, told):
    profile = counted(np.full(500, -3.0), np.zeros(500))
    profile = replace(profile, labelled=profile.scores * share)
    window = SiteWindow("a", START, START + timedelta(weeks=1), profile, 100.0, 7.0)
    assert is_labelled(window, RULES) is told
    bare = replace(window, profile=replace(profile, scores=np.zeros(194), labelled=np.zeros(194)))
    assert not is_labelled(bare, RULES)
