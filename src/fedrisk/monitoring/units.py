"""Unit errors: a column that arrives in another unit than the study's, in whole or in part.

What is compared are bin counts. A conversion is suspected where the current counts lie where the
reference's would lie after it, and not where the reference's lie. Conversions that a real change
can look like, such as ppb for ug/m3 of a gas (a factor of about two), are left out: they are
found as drift, and a person tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fedrisk.models.bins import feature_edges, quantile
from fedrisk.study import NumberFeature
from fedrisk.study.records import BoolArray, FloatArray

#: A whole column is suspected where its distance to the converted reference is at most this share
#: of its distance to the reference, ...
_NEARER = 0.3
#: ... where the two differ by at least this Kolmogorov-Smirnov distance, ...
_APART = 0.8
#: ... and as many values lie beyond the bounds as should, within this share.
_OUTSIDE_AGREES = 0.25
#: A part of a column is suspected from this share of values where the reference never was, ...
_NEW_PART = 0.1
#: ... of which this share must lie where the conversion would put it.
_EXPLAINED = 0.8
#: What the reference has seen, widened on each side by this share of its range.
_WIDENED = 0.1


@dataclass(frozen=True, slots=True)
class Conversion:
    """``factor * value + offset`` turns the study's unit into another one.

    >>> Conversion("degF", 1.8, 32.0).apply(np.array([37.0])).round(6).tolist()
    [98.6]
    """

    unit: str
    factor: float
    offset: float = 0.0

    def apply(self, values: FloatArray) -> FloatArray:
        """Values in the other unit."""
        return self.factor * values + self.offset


_FAHRENHEIT = Conversion("degF", 1.8, 32.0)
_KELVIN = Conversion("K", 1.0, 273.15)
#: By the study's unit, what is mistaken for it in practice.
CONVERSIONS: dict[str, tuple[Conversion, ...]] = {
    "degC": (_FAHRENHEIT, _KELVIN),
    "degF": (Conversion("degC", 1 / 1.8, -32 / 1.8),),
    "h": (Conversion("min", 60.0), Conversion("s", 3600.0)),
    "min": (Conversion("h", 1 / 60), Conversion("s", 60.0)),
    "ug/m3": (Conversion("mg/m3", 1e-3), Conversion("ng/m3", 1e3)),
    "beats/min": (Conversion("beats/s", 1 / 60),),
    "breaths/min": (Conversion("breaths/s", 1 / 60),),
    "steps/day": (Conversion("thousand steps/day", 1e-3),),
    "%": (Conversion("fraction of 1", 1e-2),),
    "year": (Conversion("month", 12.0), Conversion("day", 365.25)),
    "kg": (Conversion("g", 1e3), Conversion("lb", 2.20462)),
    "cm": (Conversion("m", 1e-2), Conversion("mm", 10.0), Conversion("inch", 1 / 2.54)),
    "m": (Conversion("cm", 1e2), Conversion("mm", 1e3)),
    "mmHg": (Conversion("kPa", 0.133322),),
    "hPa": (Conversion("Pa", 1e2), Conversion("mmHg", 0.750062)),
}
#: Where the unit is none of these: slips of the decimal point.
_SLIPS = (
    Conversion("a hundredth of the unit", 1e2),
    Conversion("a thousandth of the unit", 1e3),
    Conversion("a hundred of the unit", 1e-2),
    Conversion("a thousand of the unit", 1e-3),
)


def conversions_of(feature: NumberFeature) -> tuple[Conversion, ...]:
    """Conversions that a feature's column may have suffered."""
    return CONVERSIONS.get(feature.unit, _SLIPS)


@dataclass(frozen=True)
class BinnedColumn:
    """One column's counts.

    Attributes
    ----------
    counts : (edges + 1,) array
        Values by bin.
    outside : float
        Values beyond hard bounds.
    """

    counts: FloatArray
    outside: float

    @property
    def inside(self) -> float:
        return float(self.counts.sum())

    @property
    def outside_share(self) -> float:
        """Of the values that are there; 0 where there are none."""
        return self.outside / max(self.inside + self.outside, 1.0)


def suspected_units(
    feature: NumberFeature, season: BinnedColumn, year: BinnedColumn, current: BinnedColumn
) -> tuple[str, ...]:
    """Units that current values, all or some, seem to be in instead of the study's.

    Parameters
    ----------
    feature : NumberFeature
    season : BinnedColumn
        The reference's, of the current season.
    year : BinnedColumn
        The reference's, of all seasons.
    current : BinnedColumn

    Returns
    -------
    tuple of str
        Empty where nothing is suspected.
    """
    if not season.inside or not year.inside or not current.inside + current.outside:
        return ()
    apart, new = _is_apart(season, current), _never_seen(feature, year, current)
    if not apart and new is None:
        return ()
    units = []
    for conversion in conversions_of(feature):
        converted = _converted(feature, season, conversion)
        whole = apart and _explains_all(feature, season, converted, current)
        if whole or (new is not None and _explains_part(converted, new, current.outside)):
            units.append(conversion.unit)
    return tuple(units)


def _converted(
    feature: NumberFeature, column: BinnedColumn, conversion: Conversion
) -> BinnedColumn:
    """What a column's counts would be in another unit."""
    edges, (low, high) = feature_edges(feature), feature.limits
    values = conversion.apply(bin_centres(feature))
    kept = (values >= low) & (values <= high)
    places = np.searchsorted(edges, values[kept], side="right")
    counts = np.bincount(places, column.counts[kept], len(edges) + 1).astype(np.float64)
    return BinnedColumn(counts, column.outside + float(column.counts[~kept].sum()))


def _is_apart(season: BinnedColumn, current: BinnedColumn) -> bool:
    """Whether hardly a value lies where the season's do."""
    if not current.inside or current.outside_share >= _APART:
        return current.outside_share - season.outside_share >= _APART
    return float(np.max(np.abs(_shares(current) - _shares(season)))) >= _APART


def _shares(column: BinnedColumn) -> FloatArray:
    """Cumulative shares of the values within bounds."""
    shares: FloatArray = np.cumsum(column.counts) / column.inside
    return shares


def _explains_all(
    feature: NumberFeature, season: BinnedColumn, converted: BinnedColumn, current: BinnedColumn
) -> bool:
    """Whether current values lie where the converted ones do, and not where the reference's do.

    Nearer is not enough: a week of little ozone lies near zero, and so would mg/m3.
    """
    if current.outside_share >= _APART:
        # Little is left to compare: whatever takes values beyond the bounds may be it.
        return converted.outside_share > 1.0 - _APART
    if abs(current.outside_share - converted.outside_share) > _OUTSIDE_AGREES:
        return False
    if not converted.inside:
        return False
    if current.counts[_reached(converted)].sum() < _EXPLAINED * current.inside:
        return False
    widths = np.append(np.diff(bin_centres(feature)), 0.0)
    there = float(np.abs(_shares(current) - _shares(season)) @ widths)
    return float(np.abs(_shares(current) - _shares(converted)) @ widths) <= _NEARER * there


def _never_seen(
    feature: NumberFeature, year: BinnedColumn, current: BinnedColumn
) -> FloatArray | None:
    """Counts of values where the reference never had one; None where they are few."""
    centres, edges = bin_centres(feature), feature_edges(feature)
    low, high = (quantile(year.counts, edges, q) for q in (0.001, 0.999))
    margin = _WIDENED * (high - low)
    new = np.where((centres < low - margin) | (centres > high + margin), current.counts, 0.0)
    return new if new.sum() >= max(_NEW_PART * current.inside, 1.0) else None


def _explains_part(converted: BinnedColumn, new: FloatArray, outside: float) -> bool:
    """Whether values where the reference never had one lie where a conversion would put them.

    A conversion that would hardly leave a value within bounds does not explain values that are,
    unless most are beyond with them.
    """
    if not converted.inside:
        return False
    beyond = outside / (outside + float(new.sum()))
    if converted.outside_share > _APART and beyond < _APART / 2:
        return False
    return float(new[_reached(converted)].sum()) >= _EXPLAINED * float(new.sum())


def _reached(column: BinnedColumn) -> BoolArray:
    """Bins from the first to the last percentile of the values within bounds."""
    shares = _shares(column)
    reached: BoolArray = (shares >= 0.01) & (shares - column.counts / column.inside <= 0.99)
    return reached


@lru_cache(maxsize=1024)
def bin_centres(feature: NumberFeature) -> FloatArray:
    """A value of every bin, ``(edges + 1,)``: open bins are taken as wide as their neighbours."""
    edges, (low, high) = feature_edges(feature), feature.limits
    first = max(low, 2 * edges[0] - edges[1])
    last = min(high, 2 * edges[-1] - edges[-2])
    bounds = np.concatenate([[first], edges, [last]])
    centres: FloatArray = (bounds[:-1] + bounds[1:]) / 2
    centres.setflags(write=False)
    return centres
