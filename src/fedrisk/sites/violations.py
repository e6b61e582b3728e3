"""Collects what breaks the study while columns are checked, as counts first, as names second."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fedrisk.errors import DataError, Violation
from fedrisk.study import Study
from fedrisk.study.columns import Column
from fedrisk.study.records import BoolArray

#: Violations of one rule in one column that are recorded with row and value; all are counted.
RECORDED = 1000


@dataclass
class Violations:
    """Violations of one file.

    Parameters
    ----------
    file : str
        The file as the caller named it.
    limit : int or None
        Most violations to record for one rule in one column; None records all.
    """

    file: str
    limit: int | None = RECORDED
    found: list[Violation] = field(default_factory=list)
    total: int = 0

    def add(self, name: str, column: Column, wrong: BoolArray, rule: str) -> None:
        """Record the rows of a column where a rule is broken."""
        rows = np.flatnonzero(wrong)
        self.total += len(rows)
        rows = rows[: self.limit]
        for row, text in zip(rows.tolist(), column.texts(rows) if len(rows) else [], strict=True):
            self.found.append(Violation(self.file, row + 1, name, text, rule))

    def add_column(self, name: str, rule: str, value: str = "") -> None:
        """Record that a column as a whole breaks a rule."""
        self.total += 1
        self.found.append(Violation(self.file, None, name, value, rule))

    def raise_if_any(self, study: Study, site: str) -> None:
        """Raise DataError with everything recorded, in column and row order.

        The message itself holds counts and column names only, so it may leave the site; the
        violations hold values of rows and must not.
        """
        if not self.total:
            return
        order = {name: place for place, name in enumerate(study.columns)}
        self.found.sort(key=lambda v: (order.get(v.column, -1), v.row or 0))
        columns = ", ".join(dict.fromkeys(repr(v.column) for v in self.found))
        raise DataError(
            f"site {site!r} ({self.file}): {self.total} violation(s) of study {study.name!r}, "
            f"in column(s) {columns}",
            self.found,
            self.total,
            hint="correct the file, or the study; "
            "`fedrisk study check --all` lists every violation",
        )
