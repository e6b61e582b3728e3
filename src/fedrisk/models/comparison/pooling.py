"""From every site's messages to one comparison: what the coordinator makes of the sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import TypeVar

import numpy as np

from fedrisk.errors import FederationError
from fedrisk.models.comparison.counts import ComparisonCounts, comparison_counts
from fedrisk.models.comparison.estimates import GroupEstimates, PlacementEstimates
from fedrisk.models.comparison.figures import (
    Comparison,
    Difference,
    GroupFigures,
    ModelFigures,
)
from fedrisk.models.comparison.placement import PlacementSums, PooledScores, placement_sums
from fedrisk.models.comparison.rows import ALL, BANDS, ComparedRows, group_names
from fedrisk.study import Study
from fedrisk.study.records import FloatArray, SumRecord

R = TypeVar("R", bound=SumRecord)


def added(records: Iterable[R]) -> R:
    """The record of all sites."""
    return reduce(add, records)


def pool_comparison(
    study: Study,
    models: Sequence[str],
    counts: Mapping[str, ComparisonCounts],
    placements: Mapping[str, PlacementSums],
    *,
    untreated: bool = False,
) -> Comparison:
    """Pool both messages of every site.

    Parameters
    ----------
    study : Study
    models : sequence of str
        Names, the champion's first, in the order of the axis ``models``.
    counts : mapping of site to ComparisonCounts
    placements : mapping of site to PlacementSums
        Of the same sites: the second message was asked about their first ones' sum.
    untreated : bool
        Whether untreated rows alone were judged.

    Raises
    ------
    FederationError
        When no site answered, or the two messages are of different sites.
    """
    if not counts or set(counts) != set(placements):
        raise FederationError(
            f"first messages of {sorted(counts) or 'no site'}, second ones of {sorted(placements)}",
            hint="leave a site that answered only once out of both, and ask the second time again",
        )
    every = added(counts.values())
    whole = GroupEstimates(every, 0)
    placed = PlacementEstimates(every, added(placements.values()))
    figures = {name: _model(whole, placed, at) for at, name in enumerate(models)}
    challengers = list(enumerate(models))[1:]
    return Comparison(
        study=study.hash,
        **_sizes(every),
        untreated=untreated,
        bands=_bands(every),
        models=figures,
        differences={name: _difference(whole, at, placed) for at, name in challengers},
        log_loss_covariance=_covariance(models, whole),
        groups=_groups(study, models, every, counts),
        net_benefit={name: whole.net_benefit(at) for at, name in enumerate(models)},
        churn={name: _table(every.churn[at]) for at, name in challengers},
    )


def _sizes(counts: ComparisonCounts) -> dict[str, float]:
    whole = GroupEstimates(counts, 0)
    return {
        "rows": whole.rows,
        "events": whole.events,
        "people": float(counts.clusters[0, 0]),
        "days": float(counts.clusters[0, 1]),
        "effective_rows": whole.effective_rows,
        "effective_events": whole.effective_events,
        "treated": float(counts.band_treated.sum()),
        "treated_events": float(counts.treated_events),
        "treated_expected": float(counts.treated_expected),
    }


def _bands(counts: ComparisonCounts) -> dict[str, dict[str, float]]:
    told = zip(BANDS, counts.band_rows, counts.band_treated, counts.band_events, strict=True)
    return {
        band: {"rows": float(rows), "treated": float(treated), "events": float(events)}
        for band, rows, treated, events in told
    }


def _covariance(models: Sequence[str], whole: GroupEstimates) -> dict[str, dict[str, float]]:
    table = whole.covariance("log_loss")
    if np.isnan(table).any():
        return {}
    return {
        name: dict(zip(models, map(float, row), strict=True))
        for name, row in zip(models, table, strict=True)
    }


def _table(cells: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(cell) for cell in row) for row in cells)


def _model(whole: GroupEstimates, placed: PlacementEstimates, model: int) -> ModelFigures:
    intercept, slope = placed.line(model)
    return ModelFigures(
        auroc=placed.auroc(model),
        brier=whole.mean("squared_error", model),
        log_loss=whole.mean("log_loss", model),
        observed_expected=whole.observed_expected(model),
        calibration_intercept=intercept,
        calibration_slope=slope,
    )


def _difference(
    group: GroupEstimates, model: int, placed: PlacementEstimates | None = None
) -> Difference:
    auroc = group.auroc_difference(model) if placed is None else placed.auroc_difference(model)
    return Difference(
        auroc=auroc,
        brier=group.mean_difference("squared_error", model),
        log_loss=group.mean_difference("log_loss", model),
        net_benefit={} if placed is None else group.benefit_difference(model),
    )


def _groups(
    study: Study,
    models: Sequence[str],
    every: ComparisonCounts,
    counts: Mapping[str, ComparisonCounts],
) -> dict[str, dict[str, GroupFigures]]:
    parts = {name: GroupEstimates(every, at) for at, name in enumerate(group_names(study))}
    del parts[ALL]
    parts |= {f"site:{site}": GroupEstimates(own, 0) for site, own in sorted(counts.items())}
    return {
        name: {model: _of_group(group, at) for at, model in enumerate(models)}
        for name, group in parts.items()
        if group.rows
    }


def _of_group(group: GroupEstimates, model: int) -> GroupFigures:
    return GroupFigures(
        rows=group.rows,
        events=group.events,
        people=group.people,
        auroc=group.auroc(model),
        brier=group.mean("squared_error", model),
        log_loss=group.mean("log_loss", model),
        observed_expected=group.observed_expected(model),
        difference=_difference(group, model),
    )


def compare_rows(
    study: Study, models: Sequence[str], sites: Mapping[str, ComparedRows]
) -> Comparison:
    """Both messages and their pooling in one process, for simulations and tests.

    Parameters
    ----------
    study : Study
    models : sequence of str
    sites : mapping of site to ComparedRows
    """
    counts = {site: comparison_counts(rows) for site, rows in sites.items()}
    pooled = PooledScores.of(added(counts.values()))
    placements = {site: placement_sums(rows, pooled) for site, rows in sites.items()}
    untreated = any(rows.untreated for rows in sites.values())
    return pool_comparison(study, models, counts, placements, untreated=untreated)
