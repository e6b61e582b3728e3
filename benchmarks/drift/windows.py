"""Reference blocks and current windows of a simulated federation, as its sites would count them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
from world import Features, Setting, SiteRows, World, at_midnight, outside

from fedrisk.models.logistic import LogisticModel
from fedrisk.profiles.counting import profile_columns
from fedrisk.profiles.profile import Profile, score_edges
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study import Study
from fedrisk.study.records import BoolArray, FloatArray

WEEK = timedelta(weeks=1)


def profile(study: Study, rows: SiteRows, model: LogisticModel, now: date) -> Profile:
    """Counts of rows as written: values beyond hard bounds apart, valid rows scored."""
    beyond = outside(study, rows.written)
    inside: Features = {
        name: np.where(beyond[name], np.nan, values) if name in beyond else values
        for name, values in rows.written.items()
    }
    counted = profile_columns(study, inside)
    outer = {name: float(beyond[name].sum()) if name in beyond else 0.0 for name in inside}
    logits = model.logit({name: values[rows.valid] for name, values in rows.written.items()})
    known = rows.known(now)[rows.valid]
    events = rows.events[rows.valid]
    return replace(
        counted,
        missing={name: count - outer[name] for name, count in counted.missing.items()},
        outside=outer,
        scores=_by_score(logits, np.ones(len(logits), bool)),
        labelled=_by_score(logits, known),
        events=_by_score(logits, known & events),
    )


def _by_score(logits: FloatArray, rows: BoolArray) -> FloatArray:
    edges = score_edges()
    places = np.searchsorted(edges, logits[rows], side="right")
    return np.bincount(places, minlength=len(edges) + 1).astype(np.float64)


def window(
    study: Study, rows: SiteRows, since: date, until: date, model: LogisticModel, now: date
) -> SiteWindow:
    """One site's window."""
    inside = rows.between(since, until)
    return SiteWindow(
        site=rows.site,
        start=at_midnight(since),
        end=at_midnight(until),
        profile=profile(study, inside, model, now),
        people=float(len(np.unique(inside.people))),
        days=float(len(np.unique(inside.days))),
    )


def reference_of(world: World, model: LogisticModel, since: date, until: date) -> Reference:
    """Blocks of the training rows, by site and week."""
    blocks = []
    for rows in world.sites:
        training = rows.chosen(~rows.test)
        day = since
        while day < until:
            end = min(day + WEEK, until)
            blocks.append(window(world.study, training, day, end, model, until + 2 * WEEK))
            day = end
    return Reference(world.study.hash, tuple(blocks))


def current_windows(world: World, model: LogisticModel, since: date, now: date) -> list[SiteWindow]:
    """Weekly windows of every site that ended by now."""
    found = []
    day = since
    while day + WEEK <= now:
        found += [window(world.study, rows, day, day + WEEK, model, now) for rows in world.sites]
        day += WEEK
    return found


def mondays(setting: Setting) -> list[date]:
    """The days on which somebody looks: after each week of the watch."""
    return [setting.week(number + 1) for number in range(setting.watched)]
