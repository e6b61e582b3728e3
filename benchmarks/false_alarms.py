"""How often nothing is taken for a change: textbook tests beside nulls of the reference's blocks.

Run it as ``python benchmarks/false_alarms.py [--people N] [--years N] [--worlds N] [--weeks N]``.
Worlds are seeded from ``--seed`` on, 1000; how nulls are made was chosen on seeds 0 to 19.
Each world has five cities of the simulated cohort in scenario ``none``: the same people, a common
sky, real seasons. One or two years are the reference, the next year is judged, a window of so many
weeks after the other. Printed are

- the share of windows that each test finds changed at .05, .01 and .001 in some feature's place;
- the share of checks (five sites, all features) with any discovery, by textbook and by us;
- the share of windows in which true shifts are found at .001, and as discoveries.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special, stats

from fedrisk.detectors import DETECTORS
from fedrisk.detectors.calibration import Calibration, Finding
from fedrisk.detectors.false_discovery import FalseDiscovery
from fedrisk.profiles.counting import profile_columns
from fedrisk.profiles.profile import Profile
from fedrisk.profiles.reference import Reference, merge
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.simulation import Cohort, simulate
from fedrisk.study import builtin_study
from fedrisk.study.records import FloatArray

STUDY = builtin_study("air-wearables")
START = date(2021, 12, 6)
SITES = 5
LEVELS = (0.05, 0.01, 0.001)
#: What a check asks: one detector of each kind of subject.
ASKED = ("wasserstein", "chi_square", "missingness", "range_violations", "prediction_shift")
SHIFTS: dict[str, tuple[str, Callable[[FloatArray], FloatArray]]] = {
    "resting pulse 2 beats/min up": ("heart_rate", lambda x: x + 2),
    "sleep half an hour less": ("sleep_hours", lambda x: x - 0.5),
    "thermometer .1 degC up": ("body_temp", lambda x: x + 0.1),
    "PM2.5 doubled": ("pm25", lambda x: 2 * x),
    "PM2.5 trebled": ("pm25", lambda x: 3 * x),
    "air 6 degC warmer": ("temperature", lambda x: x + 6),
    "air in degF for degC": ("temperature", lambda x: 1.8 * x + 32),
    "people 3 years older": ("age", lambda x: x + 3),
}


@dataclass(frozen=True)
class World:
    """Windows of one simulated world: those of the reference, and those judged, by check."""

    reference: Reference
    checks: list[list[SiteWindow]]
    moved: dict[str, list[SiteWindow]]


def columns_of(cohort: Cohort) -> dict[str, Any]:
    """A cohort's features as a profile takes them."""
    columns = {f.name: cohort.columns[f.name] for f in STUDY.numbers}
    sex = cohort.columns["sex"]
    columns["sex"] = np.select([sex == "female", sex == "male"], [0, 1], -1).astype(np.int32)
    return columns


def windows_of(cohort: Cohort, columns: Mapping[str, Any], first: int) -> Iterator[SiteWindow]:
    """One window a week, from week ``first`` on."""
    days = (cohort.columns["date"] - np.datetime64(START)).astype(int)
    start = datetime.combine(START, datetime.min.time(), UTC)
    for week in range(first, days[-1] // 7 + 1):
        part = slice(*np.searchsorted(days, [7 * week, 7 * week + 7]))
        rows = {name: column[part] for name, column in columns.items()}
        profile = profile_columns(STUDY, rows, cohort.true_risk[part])
        people = len(np.unique(cohort.columns["person"][part]))
        begin, end = (start + timedelta(weeks=n) for n in (week, week + 1))
        yield SiteWindow(cohort.site, begin, end, profile, float(people), 7.0)


def joined(weeks: list[SiteWindow], size: int) -> list[SiteWindow]:
    """Consecutive weeks of one site put together."""
    runs = [weeks[i : i + size] for i in range(0, len(weeks) - size + 1, size)]
    return [
        replace(
            run[0],
            end=run[-1].end,
            profile=merge(week.profile for week in run),
            people=max(week.people for week in run),
            days=7.0 * size,
        )
        for run in runs
    ]


def world_of(seed: int, people: int, years: int, size: int) -> World:
    """Simulate one world."""
    known = 52 * years
    blocks: list[SiteWindow] = []
    judged: list[list[SiteWindow]] = []
    moved: dict[str, list[SiteWindow]] = {name: [] for name in SHIFTS}
    for cohort in simulate(SITES, people, 7 * (known + 52), seed, START):
        columns = columns_of(cohort)
        weeks = list(windows_of(cohort, columns, 0))
        blocks += weeks[:known]
        judged.append(joined(weeks[known:], size))
        for name, (feature, move) in SHIFTS.items():
            changed = columns | {feature: move(columns[feature])}
            moved[name] += joined(list(windows_of(cohort, changed, known)), size)
    checks = [list(check) for check in zip(*judged, strict=True)]
    return World(Reference(STUDY.hash, tuple(blocks)), checks, moved)


def textbook(name: str, reference: Profile, current: Profile, subject: str) -> float | None:
    """The p-value that takes rows for independent; 0 or 1 of a rule of thumb; None of no test."""
    detector = DETECTORS[name]
    distance = detector.distance(reference, current, subject)
    if distance is None:
        return None
    if name == "kolmogorov_smirnov":
        n, m = (p.numbers[subject].sum() for p in (reference, current))
        return float(special.kolmogorov(distance * np.sqrt(n * m / (n + m))))
    if name == "chi_square":
        table = np.array([p.categories[subject] for p in (reference, current)])
        return float(stats.chi2_contingency(table, correction=False).pvalue)
    rules = {"psi": 0.1, "wasserstein": 0.1, "jensen_shannon": 0.1}
    return float(distance < rules[name]) if name in rules else None


def findings(calibration: Calibration, window: SiteWindow) -> Iterator[Finding]:
    """Everything that a check asks of one window."""
    for name in ASKED:
        for subject in DETECTORS[name].subjects(STUDY):
            yield calibration.finding(DETECTORS[name], window, subject)


class Tally:
    """Shares of p-values at or below the levels, by name."""

    def __init__(self) -> None:
        self.p_values: dict[str, list[float]] = {}

    def add(self, name: str, p_value: float | None) -> None:
        """Note a p-value; None is none."""
        if p_value is not None:
            self.p_values.setdefault(name, []).append(p_value)

    def shares(self, name: str) -> list[float]:
        """At each level."""
        p = np.array(self.p_values.get(name, [np.nan]))
        return [float(np.mean(p <= level)) for level in LEVELS]


def judge(world: World, ours: Tally, theirs: Tally) -> tuple[float, float]:
    """Note every test of one world; checks with any discovery, by textbook and by us."""
    calibration = Calibration(world.reference)
    stream, alarms = FalseDiscovery(), [0, 0]
    for check in world.checks:
        naive: list[float] = []
        for window in check:
            against = world.reference.of(window.site, window.season)
            for name in (*ASKED, "kolmogorov_smirnov", "psi", "jensen_shannon"):
                for subject in DETECTORS[name].subjects(STUDY):
                    finding = calibration.finding(DETECTORS[name], window, subject)
                    ours.add(name, finding.p_value)
                    p = textbook(name, against, window.profile, subject)
                    theirs.add(name, p)
                    if name in ("kolmogorov_smirnov", "chi_square") and p is not None:
                        naive.append(p)
        asked = [f.p_value for window in check for f in findings(calibration, window)]
        stream, found = stream.test([p for p in asked if p is not None])
        alarms[0] += bool((stats.false_discovery_control(naive) <= 0.1).any())
        alarms[1] += any(one.found for one in found)
    return alarms[0] / len(world.checks), alarms[1] / len(world.checks)


def power(world: World) -> dict[str, list[float]]:
    """By shift: share of windows with p <= .001, and with one that a check would discover."""
    calibration, found = Calibration(world.reference), {}
    tests = len(list(findings(calibration, world.checks[0][0]))) * SITES
    for name, (feature, _) in SHIFTS.items():
        all_found = [
            calibration.finding(DETECTORS["wasserstein"], window, feature)
            for window in world.moved[name]
        ]
        p = np.array([1.0 if f.p_value is None else f.p_value for f in all_found])
        # Five sites move together: their p-values stand beside those of all that stood still.
        q = [FalseDiscovery().test([*part, *np.ones(tests - SITES)])[1] for part in by_check(p)]
        discovered = [one.found for check in q for one in check[:SITES]]
        found[name] = [float(np.mean(p <= 0.001)), float(np.mean(discovered))]
    return found


def by_check(p: FloatArray) -> list[FloatArray]:
    """The five sites' p-values of each check."""
    return list(p.reshape(SITES, -1).T)


def main() -> None:
    """Simulate the worlds, print the shares, and write them as JSON where asked."""
    parser = argparse.ArgumentParser()
    for option, default in (
        ("people", 200),
        ("years", 1),
        ("worlds", 2),
        ("weeks", 1),
        ("seed", 1000),
    ):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--json")
    asked = parser.parse_args()
    began = time.perf_counter()
    ours, theirs = Tally(), Tally()
    alarms, powers = [], []
    for seed in range(asked.seed, asked.seed + asked.worlds):
        world = world_of(seed, asked.people, asked.years, asked.weeks)
        alarms.append(judge(world, ours, theirs))
        powers.append(power(world))
    checks = asked.worlds * len(world.checks)
    print(f"{checks * SITES} stationary windows of {asked.weeks} weeks, {asked.people} people a")
    print(f"site, {asked.years} years of reference; {time.perf_counter() - began:.0f} s")
    print(f"\n{'share of tests at or below':28}", *(f"{level:>8}" for level in LEVELS))
    for name in ours.p_values:
        for what, tally in (("textbook", theirs), ("blocks", ours)):
            if name in tally.p_values:
                print(f"{name:18} {what:9}", *(f"{s:8.4f}" for s in tally.shares(name)))
    naive, kept = np.mean(alarms, axis=0)
    print(f"\nchecks with any alarm: textbook {naive:.1%}, blocks and online FDR {kept:.1%}")
    print(f"\n{'share of shifted windows found':34} {'p<=.001':>8} {'discovery':>10}")
    shown = {name: np.mean([p[name] for p in powers], axis=0).tolist() for name in SHIFTS}
    for name, (single, discovered) in shown.items():
        print(f"{name:34} {single:8.2f} {discovered:10.2f}")
    if asked.json:
        document = {
            "windows": checks * SITES,
            "levels": LEVELS,
            "textbook": {name: theirs.shares(name) for name in theirs.p_values},
            "blocks": {name: ours.shares(name) for name in ours.p_values},
            "alarms": {"textbook": naive, "blocks": kept},
            "power": shown,
        }
        Path(asked.json).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
