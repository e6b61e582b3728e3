"""How long a verdict and a decision take on one more week of four sites.

``python benchmarks/verdict.py [--sites N] [--weeks N]``

The simulated cohort's first year is the reference; then a week a look is judged, by windows of the
last twelve, with the memory of the looks before. The nulls of a reference are worked out at the
first look and kept by whoever judges again (`Calibration`): both are printed, and what a look costs
at which no site has sent anything new. Processor time, so that a busy machine tells the same.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from time import process_time

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from watched_world import WEEK, day, make_world

from fedrisk.detectors.calibration import Calibration
from fedrisk.monitoring.memory import Memory
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.monitoring.verdict import judge
from fedrisk.retraining.decision import DecisionRules, Situation, decide

FIRST = 54
ASKED = 12


def main() -> None:
    """Print milliseconds of processor time."""
    parser = argparse.ArgumentParser(description="Time verdicts and decisions.")
    parser.add_argument("--sites", type=int, default=4)
    parser.add_argument("--weeks", type=int, default=20)
    given = parser.parse_args()
    world = make_world(sites=given.sites)
    reference, document = world.reference, world.document
    calibration, memory = Calibration(reference), Memory()
    looks, repeated, decisions = [], [], []
    for week in range(FIRST, FIRST + given.weeks):
        windows = world.windows(max(52, week - ASKED), week)
        now = day(week * WEEK)
        arguments = (world.study, reference, windows, document)
        began = process_time()
        verdict = judge(*arguments, memory, VerdictRules(), now, calibration)
        looks.append(process_time() - began)
        memory = verdict.memory
        began = process_time()
        judge(*arguments, memory, VerdictRules(), now, calibration)
        repeated.append(process_time() - began)
        began = process_time()
        decide(verdict, Situation(now), DecisionRules())
        decisions.append(process_time() - began)
    print(f"first look ({2 * given.sites} windows, nulls made): {1000 * looks[0]:.0f} ms")
    print(f"a look at {given.sites} new windows: {1000 * statistics.median(looks[1:]):.0f} ms")
    print(f"a look at nothing new: {1000 * statistics.median(repeated):.0f} ms")
    print(f"a decision: {1000 * statistics.median(decisions):.3f} ms")


if __name__ == "__main__":
    main()
