r"""Whose effect changed: whether weeks with more of a feature have more events than expected.

Counts say nothing of single rows, yet air and weather are common to a site and a week, so weeks
differ. With ``r_w = (O_w - E_w) / V_w``, the log-odds by which the model is off in window ``w``
(one Newton step), and the window's mean ``x_w`` of a feature, the weighted regression within
seasons of sites

.. math:: \delta = \frac{\sum V_w (x_w - \bar x_s) r_w}{\sum V_w (x_w - \bar x_s)^2}

estimates the change of the feature's coefficient; a site's season is compared with itself alone,
so that what differs between sites or seasons does not confound it. The variance is widened by what
the residuals vary beyond chance (quasi-likelihood, McCullagh and Nelder, Generalized Linear Models,
2nd ed. 1989, 9.2). The same slope over the reference's blocks of the season, where the model was
fitted, is taken off, because a line through a curved effect is off in its own way in each season;
seasons are averaged by their precision. As in every comparison of groups, something else that came
and went with the feature may be the cause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from typing import Any

import numpy as np

from fedrisk.monitoring.outcomes import Outcomes
from fedrisk.monitoring.units import bin_centres
from fedrisk.profiles.seasons import SEASONS, Season
from fedrisk.study import NumberFeature, Study

#: Fewest windows of a slope.
LEAST_WINDOWS = 6


@dataclass(frozen=True)
class EffectChange:
    """By how much a feature's coefficient seems to have changed.

    Attributes
    ----------
    feature : str
    change, standard_error : float
        Log-odds per unit of the feature.
    p_value : float
        Two-sided, multiplied by the number of features looked at (Bonferroni), at most 1.
    times : float or None
        The coefficient now as a multiple of the model's; None where the model has none.
    """

    feature: str
    change: float
    standard_error: float
    p_value: float
    times: float | None


def effect_changes(
    study: Study,
    before: Sequence[Outcomes],
    now: Sequence[Outcomes],
    model: Mapping[str, Any],
) -> list[EffectChange]:
    """Changes of every feature's effect that can be told, the surest first.

    Parameters
    ----------
    study : Study
    before : sequence of Outcomes
        Of the reference's blocks.
    now : sequence of Outcomes
        Of current windows.
    model : dict
        The champion's document.
    """
    slopes = _slopes_per_unit(model)
    found = []
    for feature in study.numbers:
        seasons = [_change_within(feature, before, now, season) for season in SEASONS]
        told = [each for each in seasons if each is not None]
        precision = sum(1.0 / variance for _, variance in told)
        if precision > 0:
            change = sum(each / variance for each, variance in told) / precision
            found.append((feature.name, change, sqrt(1.0 / precision)))
    changes = []
    for name, change, error in found:
        p = erfc(abs(change) / error / sqrt(2.0)) if error > 0 else 1.0
        slope = slopes.get(name, 0.0)
        times = (slope + change) / slope if slope else None
        changes.append(EffectChange(name, change, error, min(p * len(found), 1.0), times))
    return sorted(changes, key=lambda each: each.p_value)


def _change_within(
    feature: NumberFeature, before: Sequence[Outcomes], now: Sequence[Outcomes], season: Season
) -> tuple[float, float] | None:
    """Change of the slope in one season, and its variance; None where either has too few weeks."""
    parts = [[each for each in some if each.season == season] for some in (now, before)]
    ours, usual = (_slope(feature, part) for part in parts)
    if ours is None or usual is None:
        return None
    return ours[0] - usual[0], ours[1] + usual[1]


def _slope(feature: NumberFeature, outcomes: Sequence[Outcomes]) -> tuple[float, float] | None:
    """Slope of the residual log-odds on a feature within sites, and its variance."""
    if len(outcomes) < LEAST_WINDOWS:
        return None
    weight = np.array([each.information for each in outcomes])
    counts = np.array([each.profile.numbers[feature.name] for each in outcomes])
    used = (weight > 0) & (counts.sum(axis=1) > 0)
    if used.sum() < LEAST_WINDOWS:
        return None
    weight, counts = weight[used], counts[used]
    value = counts @ bin_centres(feature) / counts.sum(axis=1)
    off = np.array([each.observed - each.expected for each in outcomes])[used] / weight
    places: dict[str, list[int]] = defaultdict(list)
    for place, each in enumerate(np.flatnonzero(used).tolist()):
        places[outcomes[each].site].append(place)
    for rows in places.values():
        value[rows] -= np.average(value[rows], weights=weight[rows])
        off[rows] -= np.average(off[rows], weights=weight[rows])
    spread = float(np.sum(weight * value**2))
    free = len(value) - len(places) - 1
    if spread <= 0 or free < 2:
        return None
    slope = float(np.sum(weight * value * off)) / spread
    beyond = float(np.sum(weight * (off - slope * value) ** 2)) / free
    return slope, max(beyond, 1.0) / spread


def _slopes_per_unit(model: Mapping[str, Any]) -> dict[str, float]:
    """Log-odds per unit of every number of a model that is linear in it."""
    return {
        column["feature"]: float(column["coefficient"]) / float(column["scale"])
        for column in model.get("columns", ())
        if column["kind"] == "value"
    }
