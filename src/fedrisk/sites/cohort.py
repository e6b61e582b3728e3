"""A site's cohort: its rows, checked against the study, split, and reduced to the usable ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import DataError
from fedrisk.sites.readers import column_names, read_columns
from fedrisk.sites.split import sides_disagree, split_by_id, split_by_values
from fedrisk.sites.validation import Validation, check_names
from fedrisk.sites.violations import RECORDED, Violations
from fedrisk.study import Study
from fedrisk.study.columns import Column, TimeArray, distinct
from fedrisk.study.records import BoolArray


@dataclass(frozen=True)
class CohortCounts:
    """What a cohort holds; ``rows = usable + unlabelled + immature``, ``usable = train + test``.

    Attributes
    ----------
    rows : int
        Data rows of the file, or those within the window of time that was asked for.
    usable : int
        Rows whose label is known and mature.
    train, test : int
        Usable rows on either side of the split.
    unlabelled : int
        Mature rows without a label.
    immature : int
        Rows younger than horizon and reporting lag, labelled or not.
    treated : int
        Usable rows where the score led to care.
    implausible : dict of str to int
        Usable rows outside a feature's plausible range, for each feature that declares one.
    """

    rows: int
    usable: int
    train: int
    test: int
    unlabelled: int
    immature: int
    treated: int
    implausible: dict[str, int]


@dataclass(frozen=True)
class Cohort:
    """A site's usable rows, in file order.

    Attributes
    ----------
    site : str
    study : Study
    columns : dict of str to (usable,) array
        float64 with NaN for missing, or int32 level codes with -1 for missing.
    events, test : (usable,) array of bool
        Whether a row is an event, and whether it is a test row.
    counts : CohortCounts
    times : (usable,) array of datetime64 or None
        Index times in UTC; None where the study has none.
    persons : (usable,) array of int64 or None
        The same number in all rows of one person; None where the study has no id.
    treated : (usable,) array of bool or None
        Where the score led to care; None where the study does not say.
    """

    site: str
    study: Study
    columns: dict[str, NDArray[Any]]
    events: BoolArray
    test: BoolArray
    counts: CohortCounts
    times: TimeArray | None = None
    persons: NDArray[np.int64] | None = None
    treated: BoolArray | None = None

    def part(self, *, test: bool) -> tuple[dict[str, NDArray[Any]], BoolArray]:
        """Features and events of the test rows, or of the training rows."""
        chosen = self.test if test else ~self.test
        return {name: values[chosen] for name, values in self.columns.items()}, self.events[chosen]


def load_cohort(
    study: Study,
    site: str,
    path: Path,
    as_of: datetime,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = RECORDED,
) -> Cohort:
    """Read a site's file, check every row, and keep the usable ones.

    Parameters
    ----------
    study : Study
    site : str
        The site's name, for messages.
    path : Path
        CSV or Parquet, also gzipped.
    as_of : datetime
        Rows whose label is not yet mature then are left out; naive is UTC.
    since, until : datetime, optional
        Only rows with time in ``[since, until)``, of all of which every row is checked; naive is
        UTC.
    limit : int or None
        Most violations to record for one rule in one column; None records all.

    Raises
    ------
    DataError
        When the file cannot be read, has no rows, or breaks the study; with all violations.
    """
    found = Violations(str(path), limit)
    table = read_columns(path, check_names(study, column_names(path), found))
    if table.num_rows == 0 and table.num_columns:
        raise DataError(f"{path}: has no rows")
    checked = Validation(study, table, found)
    columns, times = checked.features(), checked.times()
    (events, labelled), treated, ids = checked.label(), checked.treated(), checked.ids()
    test = _test_rows(checked, columns, times, ids)
    found.raise_if_any(study, site)
    inside = _inside(times, since, until, checked.rows)
    mature = _mature(study, times, as_of, checked.rows)
    usable = inside & mature & labelled
    columns = {name: values[usable] for name, values in columns.items()}
    counts = CohortCounts(
        rows=int(inside.sum()),
        usable=int(usable.sum()),
        train=int((usable & ~test).sum()),
        test=int((usable & test).sum()),
        unlabelled=int((inside & mature & ~labelled).sum()),
        immature=int((inside & ~mature).sum()),
        treated=int((usable & treated).sum()),
        implausible=_implausible(study, columns),
    )
    return Cohort(
        site,
        study,
        columns,
        events[usable],
        test[usable],
        counts,
        times=None if times is None else times[usable],
        persons=None if ids is None else distinct(ids)[1][usable],
        treated=None if study.treated is None else treated[usable],
    )


def _test_rows(
    checked: Validation,
    columns: dict[str, NDArray[Any]],
    times: TimeArray | None,
    ids: Column | None,
) -> BoolArray:
    study, declared = checked.study, checked.declared_test()
    if declared is not None:
        _refuse_split_persons(checked, ids, declared)
        return declared
    if ids is not None:
        return split_by_id(study, ids)
    if checked.found.total:
        return np.zeros(checked.rows, bool)  # the rows are refused anyway
    return split_by_values(study, columns, times)


def _refuse_split_persons(checked: Validation, ids: Column | None, declared: BoolArray) -> None:
    name = checked.study.split
    column = checked.column(name, "value", "")
    if ids is None or name is None or column is None:
        return
    rule = f"must be the same in all rows of one {checked.study.id!r}"
    checked.found.add(name, column, sides_disagree(ids, declared), rule)


def _mature(study: Study, times: TimeArray | None, as_of: datetime, rows: int) -> BoolArray:
    if times is None:
        return np.ones(rows, bool)
    mature: BoolArray = times <= instant(as_of) - np.timedelta64(study.maturity, "us")
    return mature


def _inside(
    times: TimeArray | None, since: datetime | None, until: datetime | None, rows: int
) -> BoolArray:
    inside = np.ones(rows, bool)
    if times is not None and since is not None:
        inside &= times >= instant(since)
    if times is not None and until is not None:
        inside &= times < instant(until)
    return inside


def instant(time: datetime) -> np.datetime64:
    """A time as columns of times hold it: UTC, microseconds; naive is UTC."""
    zoned = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    return np.datetime64(zoned.replace(tzinfo=None), "us")


def _implausible(study: Study, columns: dict[str, NDArray[Any]]) -> dict[str, int]:
    counts = {}
    for feature in study.numbers:
        if feature.plausible is not None:
            low, high = feature.plausible
            values = columns[feature.name]
            counts[feature.name] = int(((values < low) | (values > high)).sum())
    return counts
