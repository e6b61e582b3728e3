"""Data faults: what no change of the world does, and no model should be fitted on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedrisk.monitoring.rules import VerdictRules
from fedrisk.monitoring.units import BinnedColumn, suspected_units
from fedrisk.profiles.profile import Profile
from fedrisk.study import Feature, NumberFeature, Study

Kind = Literal["lost feed", "missing", "outside", "unit", "stuck", "labels"]
#: A column is stuck where this share of its values lies in one bin, ...
_STUCK = 0.98
#: ... unless the reference's season, over all its weeks, has nearly as much in one.
_STUCK_RISE = 0.4


@dataclass(frozen=True)
class Fault:
    """One fault of one column.

    Attributes
    ----------
    kind : Kind
    subject : str
        A feature, or ``labels``.
    share : float
        Of the window's rows or values, 0 to 1.
    sentence : str
    """

    kind: Kind
    subject: str
    share: float
    sentence: str


def feature_faults(
    study: Study, year: Profile, season: Profile, current: Profile, rules: VerdictRules
) -> tuple[Fault, ...]:
    """Faults of a window's features.

    Parameters
    ----------
    study : Study
    year, season : Profile
        The reference's of the same site, of all seasons and of the window's own; where the
        reference lacks the season, twice the first.
    current : Profile
    rules : VerdictRules
    """
    return tuple(
        fault
        for feature in study.features
        for fault in _faults_of(feature, year, season, current, rules)
    )


def _faults_of(
    feature: Feature, year: Profile, season: Profile, current: Profile, rules: VerdictRules
) -> Iterator[Fault]:
    lost = _missing(feature, year, season, current, rules)
    if lost is not None:
        yield lost
        if lost.kind == "lost feed":
            return
    if not isinstance(feature, NumberFeature):
        return
    fault = (
        _stuck(feature, year, season, current)
        or _unit(feature, year, season, current)
        or _outside(feature, year, current, rules)
    )
    if fault is not None:
        yield fault


def _unit(feature: NumberFeature, year: Profile, season: Profile, current: Profile) -> Fault | None:
    columns = (_column(each, feature) for each in (season, year, current))
    units = suspected_units(feature, *columns)
    if not units:
        return None
    share = 1.0 - _missing_share(current, feature.name)
    sentence = (
        f"{feature.name} seems to be in {' or '.join(units)} instead of {feature.unit}, in whole "
        "or in part"
    )
    return Fault("unit", feature.name, share, sentence)


def _column(profile: Profile, feature: NumberFeature) -> BinnedColumn:
    return BinnedColumn(profile.numbers[feature.name], profile.outside[feature.name])


def _missing_share(profile: Profile, name: str) -> float:
    return profile.missing[name] / max(profile.rows, 1.0)


def _missing(
    feature: Feature, year: Profile, season: Profile, current: Profile, rules: VerdictRules
) -> Fault | None:
    share = _missing_share(current, feature.name)
    before = max(_missing_share(year, feature.name), _missing_share(season, feature.name))
    if share - before < rules.missing_rise:
        return None
    kind: Kind = "lost feed" if share >= rules.feed_lost else "missing"
    what = "hardly has a value any more" if kind == "lost feed" else "lacks values"
    sentence = f"{feature.name} {what}: {share:.0%} of rows, {before:.1%} in the reference"
    return Fault(kind, feature.name, share, sentence)


def _outside(
    feature: NumberFeature, year: Profile, current: Profile, rules: VerdictRules
) -> Fault | None:
    share = _column(current, feature).outside_share
    before = _column(year, feature).outside_share
    if share - before < rules.outside_rise:
        return None
    sentence = (
        f"{share:.0%} of the values of {feature.name} break the rule that one "
        f"{feature.bounds_text}, {before:.1%} in the reference"
    )
    return Fault("outside", feature.name, share, sentence)


def _stuck(
    feature: NumberFeature, year: Profile, season: Profile, current: Profile
) -> Fault | None:
    def largest(profile: Profile) -> float:
        # What lies beyond the plausible range is in the two open bins, however much it varies.
        counts = profile.numbers[feature.name]
        return float(counts[1:-1].max() / max(counts.sum(), 1.0))

    share, before = largest(current), max(largest(year), largest(season))
    if share < _STUCK or share - before < _STUCK_RISE:
        return None
    sentence = (
        f"{feature.name} stands still, or is in a unit so large that it seems to: {share:.0%} of "
        "its values are alike"
    )
    return Fault("stuck", feature.name, share, sentence)


def contradictions(profile: Profile) -> str:
    """How a profile's labels contradict themselves; empty where they do not.

    >>> from fedrisk.study import builtin_study
    >>> contradictions(Profile.empty(builtin_study("air-wearables")))
    ''
    """
    labelled, events = profile.labelled, profile.events
    if not (np.isfinite(labelled).all() and np.isfinite(events).all()):
        return "counts of labels are not finite"
    if (labelled < 0).any() or (events < 0).any():
        return "counts of labels are negative"
    if (events > labelled).any():
        return "there are more events than labels in a bin of the score"
    if labelled.sum() > profile.rows * (1 + 1e-9):
        return f"{labelled.sum():,.0f} labels for {profile.rows:,.0f} rows"
    return ""
