"""Every scenario with known truth, followed by the closed loop and by what is usually done.

``python benchmarks/drift/scenarios.py [--quick] [--processes N] [--scenario NAME ...]
[--stationary LOOKS] [--without-evidently] [--json FILE]``

Prints two tables in Markdown: what the watch said and did (false alarms before the change, weeks
until the first right alarm, diagnosis, action, gate), and what each policy cost (expected log loss
beyond the truth's, thousandths of a nat a row, after the change). Then the share of false alarms
over a thousand looks at worlds in which nothing changes but the weather.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from champions import first_champion
from closed_loop import ClosedLoop
from policies import plain_policies
from stationary import ALARMS, Stationary, total, watch_world
from timeline import Followed, follow
from truths import TRUTHS
from world import Features, Setting, build

from fedrisk.models.logistic import LogisticModel
from fedrisk.simulation import SCENARIOS
from fedrisk.study import builtin_study

FULL = Setting()
QUICK = Setting(sites=3, people=250, trained=53, watched=20, stationary=6)
#: Weeks of training of `season-only`: each season was seen once.
ONE_YEAR = 53
#: Larger changes, by scenario and size: four times the effect of fine particles; in one year the
#: decline of 40.
LARGER = {"concept-change x4": ("concept-change", 3.0), "slow-ageing x4": ("slow-ageing", 4.0)}
#: Looks at each stationary world.
LOOKS = 50
#: Actions from the weakest to the strongest.
STRENGTH = (
    "none", "monitor", "investigate", "site out of line", "recalibrate", "retrain", "quality block",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """One scenario."""

    scenario: str
    false_alarms: int
    delay: int | None
    diagnosis: str
    right_diagnosis: bool | None
    action: str
    right_action: bool
    gates: dict[str, int]
    promoted: list[str]
    right_promotion: bool | None
    losses: dict[str, float]
    losses_before: dict[str, float]
    retrained: dict[str, int]
    seconds: float
    weeks: list[dict[str, Any]]


def main() -> int:
    """Run what is asked for and print it."""
    given = _arguments()
    began = time.perf_counter()
    setting = QUICK if given.quick else FULL
    with ProcessPoolExecutor(given.processes) as pool:
        outcomes = []
        follow_all = partial(run, setting=setting, evidently=not given.without_evidently)
        for outcome in pool.map(follow_all, given.scenario):
            outcomes.append(outcome)
            print(f"{_row(outcome)} {_costs(outcome)}", file=sys.stderr, flush=True)
        worlds = range(-(-given.stationary // LOOKS))
        quiet = replace(QUICK, watched=LOOKS, stationary=LOOKS)
        seeds = [replace(quiet, seed=1_000 + world) for world in worlds]
        stationary = total(list(pool.map(watch_world, seeds)))
    print(tables(outcomes))
    if stationary.looks:
        print(_stationary_lines(stationary))
    print(f"\n{time.perf_counter() - began:.0f} s")
    if given.json:
        document = [asdict(outcome) for outcome in outcomes]
        text = json.dumps({"scenarios": document, "stationary": asdict(stationary)}, indent=1)
        given.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    every = [*SCENARIOS, *LARGER]
    parser = argparse.ArgumentParser(description="Follow every scenario with known truth.")
    parser.add_argument("--quick", action="store_true", help="fewer people, sites and weeks")
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--scenario", nargs="*", choices=every, default=every)
    parser.add_argument("--stationary", type=int, default=1_000, help="looks at unchanged worlds")
    parser.add_argument("--without-evidently", action="store_true", help="the slowest of them")
    parser.add_argument("--json", type=Path, help="file for all figures, with every look")
    given = parser.parse_args()
    if given.quick and given.stationary == parser.get_default("stationary"):
        given.stationary = 4 * LOOKS
    return given


def run(scenario: str, setting: Setting, *, evidently: bool = True) -> Outcome:
    """Follow every policy through one scenario."""
    began = time.perf_counter()
    if scenario == "season-only":
        later = setting.trained - ONE_YEAR
        moved = setting.week(-setting.trained + later)
        setting = replace(setting, trained=ONE_YEAR, start=moved)
    name, size = LARGER.get(scenario, (scenario, 1.0))
    world = build(name, setting, _score_of(name, setting), size)
    standing = first_champion(world)
    champion = standing.model
    policies = [*plain_policies(evidently=evidently), ClosedLoop(standing)]
    followed = {policy.name: follow(world, policy, champion) for policy in policies}
    return _outcome(scenario, setting, followed, time.perf_counter() - began)


def _score_of(scenario: str, setting: Setting) -> Any:
    """The first champion's score, for the scenario in which somebody acts on it."""
    if SCENARIOS[scenario].care is None:
        return None
    from world import features_of

    study = builtin_study("air-wearables")
    model: LogisticModel = first_champion(build("none", setting)).model

    def score(columns: Features) -> np.ndarray:
        return model.risk(features_of(study, columns))

    return score


def _outcome(
    scenario: str, setting: Setting, followed: dict[str, Followed], seconds: float
) -> Outcome:
    truth = TRUTHS[scenario]
    looks = followed["fedrisk"].looks
    before, after = looks[: setting.stationary], looks[setting.stationary :]
    alarms = [look for look in after if look.told["status"] in ALARMS]
    right = [look for look in alarms if look.told["diagnosis"] in truth.diagnoses]
    delay = None if not right else _weeks(setting.change, right[0].now)
    diagnosis = _usual(look.told["diagnosis"] for look in alarms)
    action = max((look.told["action"] for look in after), key=STRENGTH.index)
    promoted = [look.told["promoted"] for look in looks if "promoted" in look.told]
    return Outcome(
        scenario=scenario,
        false_alarms=sum(look.told["status"] in ALARMS for look in before),
        delay=delay,
        diagnosis=diagnosis,
        right_diagnosis=_right(diagnosis, truth.diagnoses, must=truth.must_act),
        action=action,
        right_action=action in truth.actions,
        gates=_counted(look.told["gate"] for look in looks if "gate" in look.told),
        promoted=promoted,
        right_promotion=None if truth.promoted is None else truth.promoted == bool(promoted),
        losses={name: each.after for name, each in followed.items()},
        losses_before={name: each.before for name, each in followed.items()},
        retrained={name: each.retrained for name, each in followed.items()},
        seconds=seconds,
        weeks=[{"now": look.now.isoformat(), **look.told} for look in looks],
    )


def _right(diagnosis: str, allowed: frozenset[str], *, must: bool) -> bool | None:
    if not diagnosis:
        return False if must else None
    return diagnosis in allowed


def _weeks(since: date, until: date) -> int:
    return (until - since).days // 7


def _usual(names: Iterable[str]) -> str:
    counted = _counted(names)
    return max(counted, key=lambda name: counted[name]) if counted else ""


def _counted(names: Iterable[str]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for name in names:
        counted[name] = counted.get(name, 0) + 1
    return counted


def tables(outcomes: list[Outcome]) -> str:
    """Both tables, in Markdown."""
    said = [
        "| scenario | false alarms before | delay, weeks | diagnosis | action | gate | promoted |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    policies = list(outcomes[0].losses) if outcomes else []
    cost = [
        "| scenario | " + " | ".join(policies) + " | fedrisk retrained |",
        "| --- |" + " --- |" * (len(policies) + 1),
    ]
    for each in outcomes:
        said.append(_row(each))
        cost.append(f"| {each.scenario} {_costs(each)} {each.retrained['fedrisk']} |")
    return "\n".join([*said, "", *cost])


def _row(each: Outcome) -> str:
    """What the watch said and did about one scenario."""
    gates = ", ".join(f"{name} {count}" for name, count in each.gates.items())
    return (
        f"| {each.scenario} | {each.false_alarms} | {_shown(each.delay)} "
        f"| {each.diagnosis or '-'}{_mark(each.right_diagnosis)} "
        f"| {each.action}{_mark(each.right_action)} | {gates or '-'} "
        f"| {', '.join(each.promoted) or '-'}{_mark(each.right_promotion)} |"
    )


def _costs(each: Outcome) -> str:
    """What each policy cost."""
    return f"| {' | '.join(f'{loss:.2f}' for loss in each.losses.values())} |"


def _shown(value: int | None) -> str:
    return "-" if value is None else str(value)


def _mark(right: bool | None) -> str:
    return "" if right is None else " ✓" if right else " ✗"


def _stationary_lines(found: Stationary) -> str:
    return (
        f"\n{found.looks:,} looks at {found.worlds} worlds in which nothing changes: "
        f"{found.alarms} alarms ({found.rate:.1%}) in {found.worlds_with_alarm} worlds, somebody "
        f"called {found.called} times; statuses {found.statuses}; alarms as {found.diagnoses}"
    )


if __name__ == "__main__":
    sys.exit(main())
