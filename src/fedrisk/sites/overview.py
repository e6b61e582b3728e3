"""What a checked cohort looks like, in counts, and what deserves a warning before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedrisk.sites.cohort import Cohort
from fedrisk.study import CategoryFeature, NumberFeature, Study


@dataclass(frozen=True)
class SiteOverview:
    """Counts of one site's cohort.

    Attributes
    ----------
    rows, usable, unlabelled, immature, treated, train, test : int
        As in `fedrisk.sites.cohort.CohortCounts`.
    events, train_events, test_events : int
        Usable rows with an event; of them, those on either side of the split.
    missing : dict of str to int
        Usable rows without a value, for each feature.
    implausible : dict of str to int
        Usable rows outside the plausible range, for each feature that declares one.
    """

    rows: int
    usable: int
    unlabelled: int
    immature: int
    treated: int
    train: int
    test: int
    events: int
    train_events: int
    test_events: int
    missing: dict[str, int]
    implausible: dict[str, int]


def overview(cohort: Cohort) -> SiteOverview:
    """Count what a cohort holds."""
    counts, events = cohort.counts, cohort.events
    return SiteOverview(
        rows=counts.rows,
        usable=counts.usable,
        unlabelled=counts.unlabelled,
        immature=counts.immature,
        treated=counts.treated,
        train=counts.train,
        test=counts.test,
        events=int(events.sum()),
        train_events=int((events & ~cohort.test).sum()),
        test_events=int((events & cohort.test).sum()),
        missing={feature.name: _missing(cohort, feature) for feature in cohort.study.features},
        implausible=dict(counts.implausible),
    )


def _missing(cohort: Cohort, feature: NumberFeature | CategoryFeature) -> int:
    values = cohort.columns[feature.name]
    absent = values < 0 if isinstance(feature, CategoryFeature) else np.isnan(values)
    return int(absent.sum())


def warnings(study: Study, cohorts: Sequence[Cohort]) -> list[str]:
    """Say what lets training fail or mislead, though every row keeps the contract."""
    return [*_label_warnings(study, cohorts), *_site_warnings(cohorts)] + [
        warning
        for feature in study.features
        if (warning := _feature_warning(feature, cohorts)) is not None
    ]


def _label_warnings(study: Study, cohorts: Sequence[Cohort]) -> list[str]:
    events = sum(int((c.events & ~c.test).sum()) for c in cohorts)
    rows = sum(c.counts.train for c in cohorts)
    if rows and events in (0, rows):
        which = "no training row is" if events == 0 else "every training row is"
        return [f"label {study.label!r} has one class: {which} an event, nothing can be fitted"]
    return []


def _site_warnings(cohorts: Sequence[Cohort]) -> list[str]:
    said = []
    for cohort in cohorts:
        if not cohort.counts.usable:
            said.append(f"site {cohort.site!r} has no usable row")
            continue
        if not cohort.counts.train:
            said.append(f"site {cohort.site!r} has no training row")
        elif len(np.unique(cohort.events[~cohort.test])) == 1:
            said.append(f"site {cohort.site!r}: label has one class in its training rows")
        if not (cohort.events & cohort.test).any():
            said.append(f"site {cohort.site!r} has 0 test events: it has no AUROC of its own")
    return said


def _feature_warning(
    feature: NumberFeature | CategoryFeature, cohorts: Sequence[Cohort]
) -> str | None:
    """Look at training rows of all sites: what is constant at one may vary between them."""
    values = np.concatenate([c.columns[feature.name][~c.test] for c in cohorts])
    if isinstance(feature, CategoryFeature):
        rows = np.bincount(values[values >= 0], minlength=len(feature.levels))
        unseen = [level for level, n in zip(feature.levels, rows, strict=True) if n == 0]
        constant = len(unseen) >= len(feature.levels) - 1
        if unseen and not constant:
            return f"feature {feature.name!r}: no training row has {', '.join(unseen)}"
    else:
        present = values[~np.isnan(values)]
        constant = len(present) == 0 or bool(present.min() == present.max())
    if constant and len(values):
        return f"feature {feature.name!r} is constant over all sites: it will be fitted as zero"
    return None
