"""False alarms while nothing changes: a thousand looks at worlds with real seasons."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from champions import first_champion
from closed_loop import ClosedLoop
from windows import mondays
from world import Setting, build

#: Statuses that are an alarm, and actions that somebody would be called for.
ALARMS = frozenset({"drift", "harm", "quality"})
CALLED = frozenset({"investigate", "retrain", "recalibrate", "quality block", "site out of line"})


@dataclass(frozen=True)
class Stationary:
    """Counts over all looks.

    ``worlds_with_alarm`` counts worlds in which there was at least one.
    """

    looks: int
    alarms: int
    called: int
    worlds: int
    worlds_with_alarm: int
    statuses: dict[str, int]
    diagnoses: dict[str, int]

    @property
    def rate(self) -> float:
        """Share of looks with an alarm."""
        return self.alarms / self.looks


def watch_worlds(seeds: list[int], setting: Setting) -> list[Stationary]:
    """Watch one world for each seed, in which nothing ever changes."""
    return [watch_world(replace(setting, seed=seed)) for seed in seeds]


def watch_world(setting: Setting) -> Stationary:
    """Watch a stationary world by verdict and decision."""
    world = build("none", setting)
    standing = first_champion(world)
    loop = ClosedLoop(standing)
    told = [loop.said(world, now) for now in mondays(setting)]
    alarms = [each for each in told if each["status"] in ALARMS]
    return Stationary(
        looks=len(told),
        alarms=len(alarms),
        called=sum(each["action"] in CALLED for each in told),
        worlds=1,
        worlds_with_alarm=int(bool(alarms)),
        statuses=dict(Counter(str(each["status"]) for each in told)),
        diagnoses=dict(Counter(str(each["diagnosis"]) for each in alarms)),
    )


def total(parts: list[Stationary]) -> Stationary:
    """All worlds together."""
    statuses: Counter[str] = Counter()
    diagnoses: Counter[str] = Counter()
    for part in parts:
        statuses.update(part.statuses)
        diagnoses.update(part.diagnoses)
    return Stationary(
        sum(part.looks for part in parts),
        sum(part.alarms for part in parts),
        sum(part.called for part in parts),
        len(parts),
        sum(part.worlds_with_alarm for part in parts),
        dict(statuses),
        dict(diagnoses),
    )
