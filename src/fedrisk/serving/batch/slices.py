"""Scores one slice of a long body after another, and counts what was scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedrisk.errors import DataError, UsageError
from fedrisk.models.checks import columns_from_rows
from fedrisk.profiles import Profile
from fedrisk.profiles.counting import profile_columns
from fedrisk.serving.champion import ServedModel
from fedrisk.serving.formats import ScoredBatch
from fedrisk.serving.request import SHOWN, Row, refusal
from fedrisk.serving.scoring import LEVELS
from fedrisk.study.records import BoolArray, FloatArray


@dataclass
class Outcome:
    """What has been scored so far.

    Attributes
    ----------
    profile : Profile
        Bin counts of the scored rows.
    rows : int
    levels, implausible : Counter
        Rows by risk level; values outside the plausible range by feature.
    """

    profile: Profile
    rows: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    implausible: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return {
            "rows": self.rows,
            "levels": dict(self.levels),
            "implausible": dict(self.implausible),
            "profile": self.profile.document(),
        }


class SliceScorer:
    """One model over the slices of one body.

    Parameters
    ----------
    served : ServedModel
    request_id : str
    explain : bool
        Whether rows get an interval and contributions.
    most_rows : int
        Of the whole body.
    gather : bool
        Go on after rows that break the study, scoring nothing more, so that `finish` can tell all
        of them; otherwise the first slice with such rows ends the work.
    beat : callable
        Told the rows so far after each slice; may raise to end the work.
    """

    def __init__(
        self,
        served: ServedModel,
        request_id: str = "",
        *,
        explain: bool = False,
        most_rows: int = 1 << 62,
        gather: bool = True,
        beat: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.served = served
        self.explain = explain
        self.outcome = Outcome(Profile.empty(served.scorer.study))
        self.seen = 0
        self._request_id = request_id
        self._most_rows = most_rows
        self._gather = gather
        self._beat = beat
        self._refused: DataError | None = None

    @property
    def refused(self) -> bool:
        """Whether some row broke the study: nothing more is scored then."""
        return self._refused is not None

    def saw(self, rows: int) -> None:
        """Count rows that were read, whether scored or not.

        Raises
        ------
        UsageError
            When the body has too many.
        """
        self.seen += rows
        if self.seen > self._most_rows:
            raise UsageError(
                f"the batch has more than {self._most_rows} rows",
                hint="send several batches, or use `fedrisk score` for files",
            )
        self._beat(self.seen)

    def score(self, rows: Sequence[Row]) -> ScoredBatch:
        """Score rows that fit the study."""
        scorer = self.served.scorer
        columns = columns_from_rows(scorer.study, rows)
        risks = scorer.risks(columns)
        codes = scorer.level_codes(risks)
        odd = self.count(columns, risks, codes)
        told = [
            scorer.warnings(row) if strange else [] for row, strange in zip(rows, odd, strict=True)
        ]
        return ScoredBatch(
            risks=risks.tolist(),
            levels=[LEVELS[code] for code in codes.tolist()],
            warnings=told,
            explanations=scorer.explain(rows) if self.explain else None,
            model=self.served.identity,
            request_id=self._request_id,
        )

    def count(self, columns: Any, risks: FloatArray, codes: Any) -> BoolArray:
        """Count scored rows; which of them have an implausible value, ``(rows,)``."""
        outcome, study = self.outcome, self.served.scorer.study
        outcome.rows += len(risks)
        outcome.profile = outcome.profile + profile_columns(study, columns, risks)
        counts = np.bincount(codes, minlength=len(LEVELS)).tolist()
        outcome.levels.update({x: n for x, n in zip(LEVELS, counts, strict=True) if n})
        odd = np.zeros(len(risks), bool)
        for name, strange in implausible(self.served, columns).items():
            outcome.implausible[name] += int(strange.sum())
            odd |= strange
        return odd

    def note(self, error: DataError) -> None:
        """Take note of rows that break the study; raise at once where they are not gathered."""
        if not self._gather:
            raise error
        before = self._refused
        violations = (() if before is None else before.violations) + error.violations
        total = error.total + (0 if before is None else before.total)
        self._refused = refusal(violations[:SHOWN], total)

    def finish(self) -> Outcome:
        """What was scored, once the body has ended.

        Raises
        ------
        DataError
            With the rows that break the study.
        UsageError
            When there was no row.
        """
        if self._refused is not None:
            raise self._refused
        if not self.seen:
            raise UsageError("the batch has no rows")
        return self.outcome


def implausible(served: ServedModel, columns: Any) -> dict[str, BoolArray]:
    """By feature, the rows whose value is outside its plausible range; only where there are any."""
    found = {}
    for feature in served.scorer.study.numbers:
        if feature.plausible is not None:
            low, high = feature.plausible
            values = columns[feature.name]
            strange = (values < low) | (values > high)  # a missing value is neither
            if strange.any():
                found[feature.name] = strange
    return found
