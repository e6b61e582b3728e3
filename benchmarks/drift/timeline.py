"""Follow one policy through one scenario, week by week, and say what it cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from policies import Look, Policy
from windows import mondays
from world import World

from fedrisk.models.logistic import LogisticModel
from fedrisk.study.records import FloatArray

WEEK = timedelta(weeks=1)
#: Thousandths of a nat.
MILLI = 1_000.0


@dataclass(frozen=True)
class Followed:
    """What a policy did.

    Attributes
    ----------
    looks : list of Look
    before, after : float
        Excess loss before and after the change: how much worse than the truth the models in use
        were, by expected log loss, thousandths of a nat for one row.
    """

    looks: list[Look]
    before: float
    after: float

    @property
    def retrained(self) -> int:
        """How often another model took over."""
        return sum(look.retrained for look in self.looks)


def follow(
    world: World,
    policy: Policy,
    champion: LogisticModel,
    known: Callable[[date], Look | None] = lambda _: None,
) -> Followed:
    """Let a policy look after every week, and use its model in the next one.

    Parameters
    ----------
    world : World
    policy : Policy
    champion : LogisticModel
        The model in use when the watch begins.
    known : callable
        A look that need not be taken again, by its day.
    """
    model, looks, losses = champion, [], []
    for now in mondays(world.setting):
        losses.append(_losses(world, model, now - WEEK, now))
        looks.append(known(now) or policy.look(world, now, model))
        model = looks[-1].model
    changed = world.setting.stationary
    return Followed(looks, _mean(losses[:changed]), _mean(losses[changed:]))


def _losses(world: World, model: LogisticModel, since: date, until: date) -> tuple[float, int]:
    """Sum of the divergence of the model's risks from the true ones, and the number of rows.

    Rows are those that right instruments would write: what a broken feed does to a model shows in
    how that model scores once the feed is mended.
    """
    total, count = 0.0, 0
    for rows in world.sites:
        inside = rows.between(since, until)
        total += float(divergence(inside.risk, model.risk(inside.mended)).sum())
        count += len(inside.days)
    return total, count


def divergence(truth: FloatArray, told: FloatArray) -> FloatArray:
    """Expected log loss of risks beyond that of the true ones (Kullback-Leibler), by row.

    >>> divergence(np.array([0.1]), np.array([0.1])).tolist()
    [0.0]
    """
    told = np.clip(told, 1e-12, 1 - 1e-12)
    events = truth * np.log(truth / told)
    return np.asarray(events + (1 - truth) * np.log((1 - truth) / (1 - told)))


def _mean(losses: list[tuple[float, int]]) -> float:
    total, count = np.sum(losses, axis=0) if losses else (0.0, 0.0)
    return float(MILLI * total / count) if count else float("nan")
