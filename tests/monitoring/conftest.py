"""The simulated world that the tests of monitoring share: two years, the first one fitted on."""

from __future__ import annotations

import pytest
from watched_world import WEEK, World, day, make_world

from fedrisk.detectors.calibration import Calibration
from fedrisk.monitoring.memory import Memory
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.monitoring.verdict import judge


@pytest.fixture(scope="session")
def world() -> World:
    return make_world(sites=3, people=150)


@pytest.fixture(scope="session")
def calibration(world) -> Calibration:
    return Calibration(world.reference)


@pytest.fixture
def judged(world, calibration):
    """Judge windows at the end of a week, by default a fortnight after the last."""

    def judged(windows, week=64, memory=None, rules=None, model=None):
        return judge(
            world.study,
            world.reference,
            windows,
            model or world.document,
            memory or Memory(),
            rules or VerdictRules(),
            day(week * WEEK),
            calibration,
        )

    return judged
