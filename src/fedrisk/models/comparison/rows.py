"""The rows that models are compared on: one site's scores, outcomes, people, days and groups.

All of it stays at the site; `fedrisk.models.comparison.counts` and `.placement` make of it what may
leave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedrisk.study import Bands, Study
from fedrisk.study.records import BoolArray, Columns, FloatArray

Codes = NDArray[np.int64]
Times = NDArray[np.datetime64]
#: Three months each, from December on: what a group ``season:DJF`` means.
SEASONS = ("DJF", "MAM", "JJA", "SON")
#: The group of all rows, the first of every study.
ALL = "all"
#: Risk levels, lowest first.
BANDS = ("low", "medium", "high")
#: Most that one row may stand for where untreated rows stand for treated ones: with fewer than one
#: untreated row in twenty, weights do not make up for what was not seen.
LARGEST_WEIGHT = 20.0


def group_families(study: Study) -> dict[str, tuple[str, ...]]:
    """Groups that divide the rows, by what divides them: seasons, and each of the subgroups.

    >>> from fedrisk.study import builtin_study
    >>> group_families(builtin_study("air-wearables"))["season"]
    ('season:DJF', 'season:MAM', 'season:JJA', 'season:SON')
    """
    families: dict[str, tuple[str, ...]] = {}
    if study.time is not None:
        families["season"] = tuple(f"season:{season}" for season in SEASONS)
    for feature in study.categories:
        if feature.name in study.subgroups:
            families[feature.name] = tuple(f"{feature.name}:{level}" for level in feature.levels)
    return families


def group_names(study: Study) -> tuple[str, ...]:
    """Every group that is told about, in order: all rows first, then seasons, then subgroups."""
    return (ALL, *(name for family in group_families(study).values() for name in family))


def group_memberships(study: Study, columns: Columns, months: Codes | None) -> BoolArray:
    """Which rows are in which group, ``(groups, rows)``, in the order of `group_names`.

    Parameters
    ----------
    study : Study
    columns : mapping of feature to (rows,) array
        A row whose category is missing is in no group of that family.
    months : (rows,) array of int or None
        Calendar month of a row, 1 to 12; None where the study has no time.
    """
    rows = len(next(iter(columns.values())))
    members = [np.ones(rows, bool)]
    if study.time is not None:
        seasons = np.full(rows, -1) if months is None else np.asarray(months) % 12 // 3
        members += [seasons == place for place in range(len(SEASONS))]
    for feature in study.categories:
        if feature.name in study.subgroups:
            members += [columns[feature.name] == code for code in range(len(feature.levels))]
    return np.stack(members)


def band_codes(logits: FloatArray, bands: Bands) -> Codes:
    """Risk level of each score: 0 low, 1 medium, 2 high.

    >>> band_codes(np.array([-3.0, 0.0, 3.0]), Bands(medium=0.3, high=0.7)).tolist()
    [0, 1, 2]
    """
    risks = np.array([bands.medium, bands.high])
    places: Codes = np.searchsorted(np.log(risks) - np.log1p(-risks), logits, side="right")
    return places


@dataclass(frozen=True)
class ComparedRows:
    """One site's test rows, scored by every model; the first model is the champion.

    Attributes
    ----------
    bands : Bands
        The study's.
    logits : (models, rows) array
    events, treated : (rows,) array of bool
        ``treated`` is false everywhere where the study names no such column.
    people, days : (rows,) array of int
        Equal codes are one person, or one day; every row its own where the study has no id, or no
        time. Errors are clustered by both: rows of one person resemble each other, and a day's
        weather is common to all.
    groups : (groups, rows) array of bool
        `group_memberships`.
    untreated : bool
        Compare on untreated rows alone, weighted to stand for all (`weights`).
    """

    bands: Bands
    logits: FloatArray
    events: BoolArray
    treated: BoolArray
    people: Codes
    days: Codes
    groups: BoolArray
    untreated: bool = False

    @classmethod
    def of(
        cls,
        study: Study,
        columns: Columns,
        events: BoolArray,
        logits: FloatArray,
        *,
        treated: BoolArray | None = None,
        people: Codes | None = None,
        times: Times | None = None,
        untreated: bool = False,
    ) -> ComparedRows:
        """From a site's test rows, and each model's scores of them.

        Parameters
        ----------
        study : Study
        columns : mapping of feature to (rows,) array
        events : (rows,) array of bool
        logits : (models, rows) array
        treated : (rows,) array of bool, optional
        people : (rows,) array of int, optional
            None where the study names no id: each row is a person.
        times : (rows,) array of datetime64, optional
            None where the study names no time: each row is a day, and no group is a season.
        untreated : bool
        """
        apart = np.arange(len(events))
        days = apart if times is None else times.astype("datetime64[D]").astype(np.int64)
        months = None if times is None else times.astype("datetime64[M]").astype(np.int64) % 12 + 1
        return cls(
            bands=study.bands,
            logits=logits,
            events=events,
            treated=np.zeros(len(events), bool) if treated is None else treated,
            people=apart if people is None else people,
            days=days,
            groups=group_memberships(study, columns, months),
            untreated=untreated,
        )

    @cached_property
    def champion_bands(self) -> Codes:
        """Risk level of each row by the champion: what care may have followed."""
        return band_codes(self.logits[0], self.bands)

    @cached_property
    def weights(self) -> FloatArray:
        """What each row counts for, ``(rows,)``: 1, or for a gate on untreated rows 0 if treated.

        An untreated row then stands for the treated ones of its risk level by the champion: the
        inverse of the share of that level's rows at this site that is untreated (inverse
        probability weighting; Hernan and Robins, Causal Inference: What If, 2020, chapter 12), at
        most `LARGEST_WEIGHT`. That is right if within a level it is chance who was treated.
        """
        if not self.untreated:
            return np.ones(len(self.events))
        rows = np.bincount(self.champion_bands, minlength=len(BANDS))
        untreated = np.bincount(self.champion_bands[~self.treated], minlength=len(BANDS))
        inverse = np.minimum(rows / np.maximum(untreated, 1), LARGEST_WEIGHT)
        return np.where(self.treated, 0.0, inverse[self.champion_bands])

    @property
    def judged(self) -> BoolArray:
        """The rows that count, ``(rows,)``."""
        return self.weights > 0

    def chosen(self, rows: BoolArray) -> ComparedRows:
        """Some of the rows."""
        return replace(
            self,
            logits=self.logits[:, rows],
            events=self.events[rows],
            treated=self.treated[rows],
            people=self.people[rows],
            days=self.days[rows],
            groups=self.groups[:, rows],
        )

    def scored(self, logits: FloatArray) -> ComparedRows:
        """The same rows with other scores, such as those of groups."""
        return replace(self, logits=logits)
