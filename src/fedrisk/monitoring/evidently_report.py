"""A site's own drift report: Evidently's HTML and column tests, made where the rows are.

The report shows extremes and small groups of a site's rows, so it is for the site's own eyes: no
question of the coordinator asks for it, and it stays below the site. Its tests take rows as
independent, which rows of the same people under one sky are not: they fire where nothing is wrong,
and what monitoring judges by is `fedrisk.detectors`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fedrisk.durable import write_private
from fedrisk.errors import DataError
from fedrisk.study import CategoryFeature, Study
from fedrisk.study.records import Columns

if TYPE_CHECKING:
    from evidently.core.report import Snapshot
    from pandas import DataFrame

#: Name of the column of scores in the report.
SCORE = "risk_score"
#: Evidently's names of tests and distances for numbers; without one it chooses by size.
NumberMethod = Literal["ks", "wasserstein", "psi", "jensenshannon"]


@dataclass(frozen=True)
class ColumnTest:
    """Evidently's test of one column.

    Attributes
    ----------
    column : str
    method : str
        As Evidently calls it.
    score, threshold : float
        A p-value, small where the column drifted, or a distance, large where it did.
    drifted : bool
        By that threshold alone.
    """

    column: str
    method: str
    score: float
    threshold: float
    drifted: bool


@dataclass(frozen=True)
class LocalReport:
    """What was written, and what its tests say.

    Attributes
    ----------
    file : Path
    reference_rows, current_rows : int
    tests : tuple of ColumnTest
        In the report's order.
    empty : tuple of str
        Columns without a value in one of the periods: they are summarised, not tested.
    """

    file: Path
    reference_rows: int
    current_rows: int
    tests: tuple[ColumnTest, ...]
    empty: tuple[str, ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        """Columns that drifted by Evidently's thresholds."""
        return tuple(test.column for test in self.tests if test.drifted)

    def document(self) -> dict[str, Any]:
        """The report's facts as JSON values."""
        return asdict(self) | {"file": str(self.file), "drifted": list(self.drifted)}


def write_drift_report(
    study: Study,
    reference: Columns,
    current: Columns,
    file: Path,
    method: NumberMethod | None = None,
) -> LocalReport:
    """Compare two periods of a site's rows, and write the report for its owner alone to read.

    Parameters
    ----------
    study : Study
    reference, current : mapping of feature name to (rows,) array
        Floats with NaN, or level codes with -1, where a value is missing; `SCORE` may be among them
        with risks between 0 and 1.
    file : Path
        HTML, complete in itself; one that is there is replaced.
    method : str, optional
        For numbers; by default Evidently's own choice.

    Raises
    ------
    DataError
        When a period has no rows, or no column has values in both.
    """
    frames = [_frame(study, columns) for columns in (reference, current)]
    for name, frame in zip(("reference", "current"), frames, strict=True):
        if frame.empty:
            raise DataError(
                f"the {name} period has no rows", hint="choose a period in which the site has rows"
            )
    tested = [name for name in frames[0] if all(frame[name].notna().any() for frame in frames)]
    if not tested:
        raise DataError("no column has values in both periods: there is nothing to compare")
    with warnings.catch_warnings():
        # Of its own and its dependencies' future, which is not the site operator's affair.
        warnings.simplefilter("ignore")
        snapshot = _run(study, frames[0], frames[1], tested, method)
        write_private(file, snapshot.get_html_str(as_iframe=False).encode())
        tests = _tests(snapshot)
    return LocalReport(
        file=file,
        reference_rows=len(frames[0]),
        current_rows=len(frames[1]),
        tests=tests,
        empty=tuple(name for name in frames[0] if name not in tested),
    )


def _frame(study: Study, columns: Columns) -> DataFrame:
    """The rows as Evidently reads them: levels by name, None where a value is missing."""
    import pandas as pd

    values: dict[str, Any] = {}
    for feature in study.features:
        found = columns[feature.name]
        if isinstance(feature, CategoryFeature):
            levels = np.array([*feature.levels, None], object)
            found = pd.Series(levels[found], dtype=object)
        values[feature.name] = found
    if SCORE in columns:
        values[SCORE] = columns[SCORE]
    return pd.DataFrame(values)


def _run(
    study: Study,
    reference: DataFrame,
    current: DataFrame,
    tested: list[str],
    method: NumberMethod | None,
) -> Snapshot:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    numbers = [name for name in reference if name not in study.category_names]
    definition = DataDefinition(
        numerical_columns=numbers, categorical_columns=list(study.category_names)
    )
    # Its tests of a summary would hold the current number of rows to the reference's.
    report = Report(
        [DataDriftPreset(columns=tested, num_method=method), DataSummaryPreset()],
        include_tests=False,
    )
    return report.run(
        Dataset.from_pandas(current, data_definition=definition),
        Dataset.from_pandas(reference, data_definition=definition),
    )


def _tests(snapshot: Snapshot) -> tuple[ColumnTest, ...]:
    """The columns' scores, out of all that a snapshot holds."""
    found = []
    for metric in snapshot.dict()["metrics"]:
        about: Mapping[str, Any] = metric["config"]
        if not str(about["type"]).endswith(":ValueDrift"):
            continue
        score, threshold = float(metric["value"]), float(about["threshold"])
        small_is_drift = about["method"] == "ks" or "p_value" in about["method"]
        drifted = score < threshold if small_is_drift else score >= threshold
        found.append(ColumnTest(about["column"], about["method"], score, threshold, drifted))
    return tuple(found)
