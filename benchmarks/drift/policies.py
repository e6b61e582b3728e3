"""Ways to keep a model that need no verdict: never, always, weekly, and Evidently's preset.

They are what a pipeline without a gate does: rows are taken as they come, missing values filled
with the mean, and whatever was fitted takes over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Protocol

import numpy as np
import pandas
from fitting import Part, fit
from world import Features, SiteRows, World

from fedrisk.errors import ConvergenceError
from fedrisk.models.logistic import LogisticModel

WEEK = timedelta(weeks=1)
#: Weeks of rows that `always` fits, and that the others fit.
NEWEST, YEAR = 8, 52
#: Share of columns from which the preset calls a data set drifted.
DRIFTED = 0.5
#: Rows of the reference and of a week that Evidently compares.
COMPARED = 2_000


@dataclass
class Look:
    """What came of looking at the end of one week."""

    now: date
    model: LogisticModel
    retrained: bool = False
    told: dict[str, Any] = field(default_factory=dict)


class Policy(Protocol):
    """Chooses the model for the next week."""

    name: str

    def look(self, world: World, now: date, model: LogisticModel) -> Look:
        """At the end of a week."""
        ...


def as_it_comes(world: World, since: date, now: date) -> list[Part]:
    """Labelled rows of every site as written, missing numbers filled with the mean."""
    parts: list[Part] = []
    for rows in world.sites:
        chosen = rows.between(since, now)
        chosen = chosen.chosen(chosen.known(now))
        parts.append((_filled(world, chosen), chosen.events))
    return parts


def _filled(world: World, rows: SiteRows) -> Features:
    filled: Features = dict(rows.written)
    for feature in world.study.numbers:
        values = filled[feature.name]
        missing = np.isnan(values)
        if feature.missing == "reject" and missing.any():
            filled[feature.name] = np.where(missing, _mean(world, feature.name), values)
    return filled


def _mean(world: World, feature: str) -> float:
    """Mean of the rows before the watch."""
    setting = world.setting
    before = [rows.between(setting.start, setting.watch) for rows in world.sites]
    return float(np.mean(np.concatenate([rows.written[feature] for rows in before])))


@dataclass
class Refit:
    """Fits anew to the last weeks, every week; never for no weeks."""

    name: str
    weeks: int

    def look(self, world: World, now: date, model: LogisticModel) -> Look:
        if not self.weeks:
            return Look(now, model)
        return _refitted(world, self.weeks, now, model)


def _refitted(world: World, weeks: int, now: date, model: LogisticModel) -> Look:
    """A fit to the last weeks takes over, or nothing does where there is none."""
    try:
        fitted = fit(world.study, as_it_comes(world, now - weeks * WEEK, now), model)
    except ConvergenceError as error:
        return Look(now, model, told={"failed": str(error)})
    return Look(now, fitted, retrained=True)


@dataclass
class Preset:
    """Fits anew to the last year when Evidently's drift preset says that the data set drifted."""

    name: str = "evidently"

    def look(self, world: World, now: date, model: LogisticModel) -> Look:
        if drifted_share(world, now) < DRIFTED:
            return Look(now, model)
        return _refitted(world, YEAR, now, model)


def drifted_share(world: World, now: date) -> float:
    """Share of columns that Evidently's preset calls drifted, last week against training."""
    reference = _frame(world, world.setting.start, world.setting.watch)
    current = _frame(world, now - WEEK, now)
    # Many scenarios leave the features alone, and each is as `none` before its change.
    key = hash(tuple(pandas.util.hash_pandas_object(current)))
    if key not in _SHARES:
        # The preset refuses a frame with a column that holds nothing: the pipeline stands still.
        empty = current.isna().all().any()
        _SHARES[key] = 0.0 if empty else _compared(current, reference)
    return _SHARES[key]


_SHARES: dict[int, float] = {}


def _compared(current: pandas.DataFrame, reference: pandas.DataFrame) -> float:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    document = Report([DataDriftPreset()]).run(current, reference).dict()
    count = next(m for m in document["metrics"] if "DriftedColumnsCount" in str(m["metric_name"]))
    return float(count["value"]["share"])


def _frame(world: World, since: date, until: date) -> pandas.DataFrame:
    """A sample of the rows of all sites, as a data frame."""
    chosen = [rows.between(since, until) for rows in world.sites]
    size = sum(len(rows.days) for rows in chosen)
    picked = np.random.default_rng(1).permutation(size)[:COMPARED]
    table = {
        name: np.concatenate([rows.written[name] for rows in chosen])[picked]
        for name in world.study.feature_names
    }
    for feature in world.study.categories:
        names = np.array([*feature.levels, ""], object)
        table[feature.name] = names[table[feature.name]]
    return pandas.DataFrame(table)


def plain_policies(*, evidently: bool) -> list[Policy]:
    """The policies that the closed loop is held against."""
    policies: list[Policy] = [Refit("never", 0), Refit("always", NEWEST), Refit("weekly", YEAR)]
    return [*policies, Preset()] if evidently else policies
