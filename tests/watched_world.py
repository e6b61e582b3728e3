"""Weekly windows of the simulated cohort, a model fitted on its first year, and shifts by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np

from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.newton import newton_advance, newton_start, newton_sums, posterior_covariance
from fedrisk.models.summary import summarise
from fedrisk.profiles.cells import Cells
from fedrisk.profiles.counting import Rows as CountedRows
from fedrisk.profiles.counting import count_windows, score_places
from fedrisk.profiles.profile import Profile
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.simulation import simulate
from fedrisk.study import Study, builtin_study

START = date(2023, 12, 1)
YEAR = 364
WEEK = 7
#: A day on which every outcome is known.
FOREVER = 1_000_000


@dataclass(frozen=True)
class Rows:
    """One site's rows: columns as the study reads them, outcomes; days count from `START`."""

    site: str
    columns: dict[str, Any]
    events: Any
    day: Any
    person: Any
    known_on: Any

    def where(self, chosen: Any) -> Rows:
        return Rows(
            self.site,
            {name: values[chosen] for name, values in self.columns.items()},
            self.events[chosen],
            self.day[chosen],
            self.person[chosen],
            self.known_on[chosen],
        )


#: Changes the columns of a week's rows; gets a copy.
Shift = Callable[[dict[str, Any]], Mapping[str, Any]]


def read(study: Study, cohort: Any) -> Rows:
    columns = dict(cohort.columns)
    levels = {level: code for code, level in enumerate(study.categories[0].levels)}
    columns["sex"] = np.array([levels.get(text, -1) for text in columns["sex"]], np.int32)
    days = (columns["date"] - np.datetime64(START)).astype(int)
    features = {name: columns[name] for name in study.feature_names}
    known_on = (cohort.known_on - np.datetime64(START)).astype(int)
    return Rows(cohort.site, features, cohort.events, days, columns["person"], known_on)


def fit(study: Study, sites: list[Rows]) -> LogisticModel:
    columns = {n: np.concatenate([s.columns[n] for s in sites]) for n in study.feature_names}
    events = np.concatenate([s.events for s in sites])
    summary = summarise(study, columns, events)
    design = design_from_summary(study, summary)
    matrix = design.transform(columns)
    state = newton_start(1 + len(design.columns), float(summary.events / summary.rows))
    while not state.done:
        sums = newton_sums(matrix, events, state.proposal[None])
        state = newton_advance(state, sums, study.penalty, design.constant)
    covariance = posterior_covariance(state.hessian, design.constant)
    beta = state.proposal
    return LogisticModel(study, design, float(beta[0]), beta[1:], covariance)


def profile_of(study: Study, model: LogisticModel, rows: Rows, as_of: int) -> Profile:
    """A profile as a site counts it: values beyond hard bounds are counted and give no score."""
    columns, outside, scorable = dict(rows.columns), {}, np.ones(len(rows.day), bool)
    for feature in study.numbers:
        values = columns[feature.name]
        low, high = feature.limits
        outside[feature.name] = (values < low) | (values > high)
        columns[feature.name] = np.where(outside[feature.name], np.nan, values)
        scorable &= ~outside[feature.name]
        if feature.missing == "reject":
            scorable &= ~np.isnan(values)
    places = np.where(scorable, score_places(model.logit(columns)), -1)
    known = (rows.known_on <= as_of) & scorable
    counted = CountedRows(columns, outside, places, known, rows.events & known)
    table = count_windows(study, counted, np.zeros(len(rows.day), np.int64), 1)
    return Cells.of(study).profile(float(len(rows.day)), table[0])


@dataclass(frozen=True)
class World:
    """A cohort, and the model that was fitted on its first year."""

    study: Study
    sites: list[Rows]

    @cached_property
    def model(self) -> LogisticModel:
        return fit(self.study, [rows.where(rows.day < YEAR) for rows in self.sites])

    @cached_property
    def document(self) -> dict[str, Any]:
        return self.model.document()

    @cached_property
    def reference(self) -> Reference:
        return Reference(self.study.hash, tuple(self.windows(0, YEAR // WEEK)))

    @cached_property
    def _plain(self) -> dict[str, list[SiteWindow]]:
        """All windows as they are, by site: many tests look at them."""
        weeks = {rows.site: np.array(rows.day) // WEEK for rows in self.sites}
        return {
            rows.site: [
                self.window(rows.where(weeks[rows.site] == week), week)
                for week in range(int(weeks[rows.site].max()) + 1)
            ]
            for rows in self.sites
        }

    def windows(
        self,
        first: int,
        last: int,
        shift: Shift | None = None,
        *,
        sites: tuple[str, ...] | None = None,
        events: Callable[[Rows], Any] | None = None,
        as_of: int = FOREVER,
    ) -> list[SiteWindow]:
        """Windows of weeks ``first`` to ``last - 1``, shifted at some sites or all."""
        if shift is None and events is None and as_of == FOREVER:
            return [self._plain[rows.site][w] for rows in self.sites for w in range(first, last)]
        found = []
        for rows in self.sites:
            touched = sites is None or rows.site in sites
            for week in range(first, last):
                here = rows.where((rows.day >= week * WEEK) & (rows.day < (week + 1) * WEEK))
                if touched and events is not None:
                    here = replace(here, events=events(here))
                if touched and shift is not None:
                    here = replace(here, columns={**here.columns, **shift(dict(here.columns))})
                found.append(self.window(here, week, as_of))
        return found

    def window(self, rows: Rows, week: int, as_of: int = FOREVER) -> SiteWindow:
        start = day(week * WEEK)
        return SiteWindow(
            site=rows.site,
            start=start,
            end=start + timedelta(days=WEEK),
            profile=profile_of(self.study, self.model, rows, as_of),
            people=float(len(np.unique(rows.person))),
            days=float(len(np.unique(rows.day))),
        )


def day(number: int) -> datetime:
    """Midnight of a day since `START`."""
    return datetime(START.year, START.month, START.day, tzinfo=UTC) + timedelta(days=number)


def make_world(
    sites: int = 4,
    people: int = 150,
    days: int = 2 * YEAR,
    seed: int = 11,
    scenario: str = "none",
    change: date | None = None,
    size: float = 1.0,
) -> World:
    study = builtin_study("air-wearables")
    when = change or START + timedelta(days=YEAR)
    cohorts = simulate(sites, people, days, seed, START, scenario=scenario, change=when, size=size)
    return World(study, [read(study, cohort) for cohort in cohorts])
