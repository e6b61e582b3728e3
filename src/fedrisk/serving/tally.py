"""Counts what a file's scoring brought, and decides about rows that break the study."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedrisk.errors import DataError
from fedrisk.serving.columns import Block
from fedrisk.serving.scoring import LEVELS


@dataclass
class Tally:
    """Counts of one file.

    Attributes
    ----------
    file : str
        The file as the caller named it.
    allow_wrong : bool
        Whether rows that break the study get no score, instead of ending the work.
    rows : int
        Rows so far.
    blank : int
        Rows without a score.
    violations : int
        Values that break the study.
    levels : dict
        Scored rows by risk level.
    """

    file: str
    allow_wrong: bool = False
    rows: int = 0
    blank: int = 0
    violations: int = 0
    levels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEVELS, 0))

    def add(self, codes: Any, block: Block) -> None:
        """Count a block.

        Parameters
        ----------
        codes : (rows,) array of int
            Places of the levels.
        block : Block

        Raises
        ------
        DataError
            When a row breaks the study and that is not allowed; with the block's violations.
        """
        if block.total and not self.allow_wrong:
            read = self.rows + len(codes)
            raise DataError(
                f"{self.file}: {block.total} violation(s) among the first {read} rows; "
                "nothing was written",
                block.violations,
                block.total,
                hint="correct the rows, or take --on-error blank to leave them without a score",
            )
        counts = np.bincount(codes[~block.wrong], minlength=len(LEVELS))
        for level, count in zip(LEVELS, counts.tolist(), strict=True):
            self.levels[level] += count
        self.rows += len(codes)
        self.blank += int(block.wrong.sum())
        self.violations += block.total

    def document(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return {
            "rows": self.rows,
            "scored": self.rows - self.blank,
            "blank": self.blank,
            "violations": self.violations,
            "levels": self.levels,
        }
