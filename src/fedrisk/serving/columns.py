"""From a file's Arrow columns to feature columns, with every value that breaks the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fedrisk.errors import DataError, Violation
from fedrisk.study import Feature, Study
from fedrisk.study.columns import Column
from fedrisk.study.records import BoolArray
from fedrisk.study.rules import check_feature, wrong_feature_type

if TYPE_CHECKING:
    import pyarrow as pa

#: Violations that are kept with row and value; all are counted.
RECORDED = 1000


@dataclass
class Block:
    """Some consecutive rows, ready to score.

    Attributes
    ----------
    columns : dict
        By feature: float64 with NaN, or int32 codes with -1, where a value is missing or wrong.
    wrong : (rows,) array of bool
        Rows with a value that breaks the study.
    violations : list of Violation
        At most `RECORDED` of them.
    total : int
        How many violations there are.
    """

    columns: dict[str, Any]
    wrong: BoolArray
    violations: list[Violation] = field(default_factory=list)
    total: int = 0


class BlockReader:
    """Reads blocks of one file.

    Parameters
    ----------
    study : Study
    file : str
        The file as the caller named it.
    """

    def __init__(self, study: Study, file: str) -> None:
        self.study = study
        self.file = file

    def check_names(self, present: Sequence[str]) -> None:
        """Refuse a file that lacks a feature, has it twice, or has scores already.

        Raises
        ------
        DataError
        """
        found = [
            Violation(self.file, None, name, "", rule)
            for name in (*self.study.feature_names, "risk_score", "risk_level")
            if (rule := self._name_rule(name, list(present).count(name)))
        ]
        if found:
            raise DataError(f"{self.file} does not have the columns to score", found)

    def _name_rule(self, name: str, count: int) -> str:
        if name not in self.study.feature_names:
            return "is there already: leave it out or rename it" if count else ""
        return "" if count == 1 else "is not in the file" if not count else "is there twice"

    def read(self, arrays: Mapping[str, pa.Array], first_row: int) -> Block:
        """Read a block.

        Parameters
        ----------
        arrays : mapping of feature name to (rows,) Arrow array
            As they stand in the file.
        first_row : int
            Data row of the block's first one; the file's first is 1.
        """
        rows = len(next(iter(arrays.values())))
        block = Block({}, np.zeros(rows, bool))
        for feature in self.study.features:
            column = Column(arrays[feature.name])
            self._check_type(feature, column.raw.type)
            checked = check_feature(feature, column)
            block.columns[feature.name] = checked.values
            for rule, wrong in checked.faults:
                self._note(block, feature.name, column, wrong, rule, first_row)
        block.violations.sort(key=lambda violation: violation.row or 0)
        return block

    def _check_type(self, feature: Feature, kind: pa.DataType) -> None:
        if rule := wrong_feature_type(feature, kind):
            message = f"{self.file}: column {feature.name!r} has a type that cannot be scored"
            raise DataError(message, [Violation(self.file, None, feature.name, "", rule)])

    def _note(
        self, block: Block, name: str, column: Column, wrong: BoolArray, rule: str, first: int
    ) -> None:
        block.wrong |= wrong
        rows = np.flatnonzero(wrong)
        block.total += len(rows)
        rows = rows[: RECORDED - len(block.violations)]
        for row, text in zip(rows.tolist(), column.texts(rows), strict=True):
            block.violations.append(Violation(self.file, first + row, name, text, rule))
