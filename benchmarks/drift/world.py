"""A simulated federation in arrays: what each site wrote, what was true, and what is known when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedrisk.simulation import Cohort, find_scenario, simulate, study_of
from fedrisk.simulation.cohort import Score
from fedrisk.sites.split import split_by_id
from fedrisk.study import Study
from fedrisk.study.columns import Column
from fedrisk.study.records import BoolArray, FloatArray

Features = dict[str, NDArray[Any]]
Days = NDArray[np.datetime64]


@dataclass(frozen=True)
class Setting:
    """How large the world is, and when it is watched.

    ``start`` is a Monday; the watch begins after ``trained`` weeks, goes on for ``watched`` weeks,
    and the world changes after ``stationary`` weeks of it.
    """

    sites: int = 4
    people: int = 400
    trained: int = 104
    watched: int = 26
    stationary: int = 8
    seed: int = 20_240_229
    start: date = date(2023, 4, 3)

    @property
    def watch(self) -> date:
        """The first day of the watch."""
        return self.start + timedelta(weeks=self.trained)

    @property
    def change(self) -> date:
        return self.watch + timedelta(weeks=self.stationary)

    @property
    def days(self) -> int:
        return 7 * (self.trained + self.watched)

    def week(self, number: int) -> date:
        """The first day of a week of the watch."""
        return self.watch + timedelta(weeks=number)


@dataclass(frozen=True)
class SiteRows:
    """One site's rows, by day.

    Attributes
    ----------
    site : str
    days, known_on : (rows,) array of datetime64[D]
        Day of the row, and day on which its outcome is known.
    written : dict of feature to (rows,) array
        As the site wrote it: numbers may be missing, or beyond the hard bounds.
    mended : dict
        As the site would have written it had its instruments and feeds not failed.
    valid : (rows,) array of bool
        Rows as written that the API would score and training would take.
    people : (rows,) array of int
    test, events, treated : (rows,) array of bool
    risk : (rows,) array
        True risk, had nobody acted on a score.
    """

    site: str
    days: Days
    known_on: Days
    written: Features
    mended: Features
    valid: BoolArray
    people: NDArray[np.int64]
    test: BoolArray
    events: BoolArray
    treated: BoolArray
    risk: FloatArray

    def chosen(self, rows: BoolArray | slice) -> SiteRows:
        """Some of the rows."""
        picked: dict[str, Any] = {
            name: {key: values[rows] for key, values in part.items()}
            if isinstance(part, dict)
            else part[rows]
            for name, part in vars(self).items()
            if name != "site"
        }
        return replace(self, **picked)

    def between(self, since: date, until: date) -> SiteRows:
        """Rows of days from ``since`` until before ``until``."""
        first, last = np.searchsorted(self.days, np.array([since, until], "datetime64[D]"))
        return self.chosen(slice(int(first), int(last)))

    def known(self, now: date) -> BoolArray:
        """Rows whose outcome is known."""
        return np.asarray(self.known_on <= np.datetime64(now))


@dataclass(frozen=True)
class World:
    """All sites under one scenario."""

    scenario: str
    setting: Setting
    sites: tuple[SiteRows, ...]

    @cached_property
    def study(self) -> Study:
        return study_of(self.scenario)


def at_midnight(day: date) -> datetime:
    """The beginning of a day, in UTC."""
    return datetime.fromisoformat(f"{day.isoformat()}T00:00:00+00:00")


def build(
    scenario: str, setting: Setting, score: Score | None = None, change_size: float = 1.0
) -> World:
    """Simulate a scenario; ``score`` is what somebody acts on in `label-contamination`."""
    size = (setting.sites, setting.people, setting.days, setting.seed, setting.start)
    study = study_of(scenario)
    change = None if scenario == "none" else setting.change
    cohorts = list(simulate(*size, scenario=scenario, change=change, score=score, size=change_size))
    broken = find_scenario(scenario).kind == "quality"
    plain = list(simulate(*size)) if broken else cohorts
    pairs = zip(cohorts, plain, strict=True)
    return World(scenario, setting, tuple(_site(study, *pair) for pair in pairs))


def features_of(study: Study, columns: Features) -> Features:
    """Columns of a cohort as models take them: numbers, and codes of levels."""
    found: Features = {feature.name: columns[feature.name] for feature in study.numbers}
    for feature in study.categories:
        codes = np.full(len(columns[feature.name]), -1, np.int32)
        for code, level in enumerate(feature.levels):
            codes[columns[feature.name] == level] = code
        found[feature.name] = codes
    return found


def outside(study: Study, features: Features) -> dict[str, BoolArray]:
    """Where each number is beyond its hard bounds."""
    return {
        feature.name: (features[feature.name] < feature.minimum)
        | (features[feature.name] > feature.maximum)
        for feature in study.numbers
        if feature.minimum is not None and feature.maximum is not None
    }


def _valid(study: Study, features: Features) -> BoolArray:
    valid = ~np.any(list(outside(study, features).values()), axis=0)
    for feature in study.numbers:
        if feature.missing == "reject":
            valid &= ~np.isnan(features[feature.name])
    return np.asarray(valid)


def _site(study: Study, cohort: Cohort, plain: Cohort) -> SiteRows:
    columns = cohort.columns
    written = features_of(study, columns)
    mended = written if plain is cohort else features_of(study, plain.columns)
    acted = columns[study.treated] == 1 if study.treated else np.zeros(cohort.rows, bool)
    return SiteRows(
        site=cohort.site,
        days=columns["date"],
        known_on=cohort.known_on,
        written=written,
        mended=mended,
        valid=_valid(study, written),
        people=np.unique(columns["person"], return_inverse=True)[1].astype(np.int64),
        test=split_by_id(study, Column(pa.array(columns["person"]))),
        events=cohort.events,
        treated=np.asarray(acted),
        risk=cohort.untreated_risk,
    )
