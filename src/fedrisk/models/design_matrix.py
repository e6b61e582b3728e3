"""From features to standardised columns, the same at every site and in every scorer.

A number gives one column, a category one for each level but the first; where missing values are
allowed, they are filled with the federated median or mode and an indicator column is added. Every
column is standardised by mean and population standard deviation over all sites' training rows, as
scikit-learn's ``StandardScaler`` does on the pooled rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from fedrisk.errors import ConvergenceError
from fedrisk.models.summary import (
    FeatureSummary,
    levels_by_feature,
    medians,
    modes,
    study_centres,
)
from fedrisk.study import CategoryFeature, NumberFeature, Study
from fedrisk.study.records import BoolArray, Columns, FloatArray

#: Below this variance, relative to the mean square about the centre, a column counts as constant:
#: what is left there is rounding.
CONSTANT = 1e-13
#: So does one whose standard deviation is within the last digits of its mean.
LAST_DIGITS = 16 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class DesignColumn:
    """One standardised column.

    Attributes
    ----------
    name : str
        ``age``, ``age:missing`` or ``sex=male``.
    feature : str
        The feature it comes from.
    kind : str
        ``value`` (the number itself), ``level`` (indicator of one level), ``missing`` (indicator).
    level : int
        Code of the level; -1 for other kinds.
    fill : float
        What stands in for a missing value: median in the feature's unit, 0 or 1 for a level.
    mean, scale : float
        Over the filled training rows; a constant column has scale 1 and is held at zero.
    constant : bool
    """

    name: str
    feature: str
    kind: Literal["value", "level", "missing"]
    level: int
    fill: float
    mean: float
    scale: float
    constant: bool

    def raw(self, columns: Columns) -> FloatArray:
        """The filled column before standardisation, ``(rows,)``."""
        values = columns[self.feature]
        missing: BoolArray = np.isnan(values) if values.dtype.kind == "f" else values < 0
        if self.kind == "missing":
            return missing.astype(np.float64)
        if self.kind == "level":
            values = (values == self.level).astype(np.float64)
        return np.where(missing, self.fill, values).astype(np.float64)


@dataclass(frozen=True, slots=True)
class DesignMatrix:
    """The columns of one fit, in order; the intercept is not among them."""

    columns: tuple[DesignColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def constant(self) -> BoolArray:
        """Which columns carry no information and are held at zero, ``(columns,)``."""
        return np.array([column.constant for column in self.columns], bool)

    def transform(self, columns: Columns) -> FloatArray:
        """Standardised columns, ``(rows, columns)``, in C order.

        Parameters
        ----------
        columns : mapping of feature name to (rows,) array
        """
        rows = len(next(iter(columns.values()))) if columns else 0
        matrix = np.empty((rows, len(self.columns)))
        for place, column in enumerate(self.columns):
            if column.constant:
                matrix[:, place] = 0.0
            else:
                matrix[:, place] = (column.raw(columns) - column.mean) / column.scale
        return matrix

    def document(self) -> list[dict[str, Any]]:
        """The columns as JSON values."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_document(cls, document: Sequence[Mapping[str, Any]]) -> DesignMatrix:
        """Rebuild from `document`."""
        return cls(tuple(DesignColumn(**entry) for entry in document))


def _number_columns(
    feature: NumberFeature,
    rows: float,
    *,
    present: float,
    total: float,
    square: float,
    median: float,
    centre: float,
) -> list[DesignColumn]:
    absent = rows - present
    offset = (total + absent * (median - centre)) / rows
    mean_square = (square + absent * (median - centre) ** 2) / rows
    variance = mean_square - offset**2
    mean = float(centre + offset)
    constant = variance <= max(CONSTANT * mean_square, (LAST_DIGITS * mean) ** 2)
    scale = 1.0 if constant else float(np.sqrt(variance))
    columns = [
        DesignColumn(feature.name, feature.name, "value", -1, median, mean, scale, bool(constant))
    ]
    if feature.missing == "allow":
        columns.append(_indicator(f"{feature.name}:missing", feature.name, -1, 0.0, absent / rows))
    return columns


def _indicator(name: str, feature: str, level: int, fill: float, share: float) -> DesignColumn:
    variance = share * (1 - share)
    constant = bool(variance <= CONSTANT)
    scale = 1.0 if constant else float(np.sqrt(variance))
    kind: Literal["level", "missing"] = "missing" if level < 0 else "level"
    return DesignColumn(name, feature, kind, level, fill, float(share), scale, constant)


def _category_columns(
    feature: CategoryFeature, rows: float, counts: FloatArray, mode: int
) -> list[DesignColumn]:
    absent = rows - float(counts.sum())
    columns = []
    for code, level in enumerate(feature.levels[1:], start=1):
        fill = float(code == mode)
        share = (float(counts[code]) + fill * absent) / rows
        columns.append(_indicator(f"{feature.name}={level}", feature.name, code, fill, share))
    if feature.missing == "allow":
        columns.append(_indicator(f"{feature.name}:missing", feature.name, -1, 0.0, absent / rows))
    return columns


def design_from_summary(
    study: Study, summary: FeatureSummary, centres: FloatArray | None = None
) -> DesignMatrix:
    """Derive the design matrix from all sites' summed summary.

    Parameters
    ----------
    study : Study
    summary : FeatureSummary
    centres : (numbers,) array, optional
        What its sums are about, unless that follows from the study.

    Raises
    ------
    ConvergenceError
        When no site has a training row.
    """
    rows = float(summary.rows)
    if rows <= 0:
        raise ConvergenceError(
            "no site has a row to train on",
            hint="`fedrisk study check` says why rows are left out: no label, or not mature yet",
        )
    median, mode = medians(study, summary, centres), modes(study, summary)
    about = study_centres(study) if centres is None else centres
    place = {feature.name: index for index, feature in enumerate(study.numbers)}
    counts = levels_by_feature(study, summary)
    columns: list[DesignColumn] = []
    for feature in study.features:
        if isinstance(feature, NumberFeature):
            at = place[feature.name]
            columns += _number_columns(
                feature,
                rows,
                present=float(summary.present[at]),
                total=float(summary.sums[at]),
                square=float(summary.squares[at]),
                median=median[feature.name],
                centre=float(about[at]),
            )
        else:
            columns += _category_columns(feature, rows, counts[feature.name], mode[feature.name])
    return DesignMatrix(tuple(columns))
