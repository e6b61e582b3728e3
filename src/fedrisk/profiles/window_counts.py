"""What a site answers about windows of time: bin counts of each, and nothing finer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

import numpy as np

from fedrisk.models.summary import summary_dimensions
from fedrisk.profiles.cells import Cells
from fedrisk.profiles.profile import no_scores
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study import Study
from fedrisk.study.records import FloatArray, Record, axes


@dataclass(frozen=True)
class WindowCounts(Record):
    """Counts of some windows.

    ``bins`` runs through all numbers, ``levels`` through all categories, one after the other, and
    ``missing`` and ``outside`` through all features in the study's order. ``scores`` counts rows by
    score bin, ``labelled`` those with a mature label, ``events`` the events among them; ``moments``
    are the cross products of `fedrisk.profiles.moments`, row by row.

    ``start`` and ``end`` are seconds since 1970 of what was counted: a site whose policy closes
    time in steps may have counted less than was asked, or a little of what lies before. ``people``
    and ``days`` count different persons and days. Where ``withheld`` is 1, the rows are of too few
    people, and everything else is zero.
    """

    NAME: ClassVar[str] = "window_counts"

    start: FloatArray = axes("windows")
    end: FloatArray = axes("windows")
    rows: FloatArray = axes("windows")
    people: FloatArray = axes("windows")
    days: FloatArray = axes("windows")
    withheld: FloatArray = axes("windows")
    bins: FloatArray = axes("windows", "bins")
    levels: FloatArray = axes("windows", "levels")
    missing: FloatArray = axes("windows", "features")
    outside: FloatArray = axes("windows", "features")
    scores: FloatArray = axes("windows", "profile_scores")
    labelled: FloatArray = axes("windows", "profile_scores")
    events: FloatArray = axes("windows", "profile_scores")
    moments: FloatArray = axes("windows", "moments")

    @property
    def table(self) -> FloatArray:
        """All counts, ``(windows, cells)``, in the order of `Cells`."""
        features = (self.missing, self.outside)
        scores = (self.scores, self.labelled, self.events)
        return np.hstack([self.bins, self.levels, *features, *scores, self.moments])

    @classmethod
    def of_table(cls, study: Study, about: FloatArray, table: FloatArray) -> WindowCounts:
        """The record of a table of counts.

        Parameters
        ----------
        study : Study
        about : (6, windows) array
            Start, end, rows, people, days, withheld.
        table : (windows, cells) array
            As `fedrisk.profiles.counting.count_windows` makes it.
        """
        lengths = profile_dimensions(study, len(table))
        axes_ = ("bins", "levels", "features", "features", *["profile_scores"] * 3, "moments")
        ends = np.cumsum([lengths[axis] for axis in axes_])[:-1]
        return cls(*about, *np.split(table, ends, axis=1))


def profile_dimensions(study: Study, windows: int) -> dict[str, int]:
    """Length of each axis of a `WindowCounts`."""
    lengths = {
        "windows": windows,
        "features": len(study.features),
        "profile_scores": len(no_scores()),
        "moments": (1 + len(study.numbers)) ** 2,
    }
    return summary_dimensions(study) | lengths


def site_windows(study: Study, site: str, counts: WindowCounts) -> list[SiteWindow]:
    """A site's answer as windows, in the order in which they were asked."""
    cells = Cells.of(study)
    return [
        SiteWindow(
            site=site,
            start=datetime.fromtimestamp(start, UTC),
            end=datetime.fromtimestamp(end, UTC),
            profile=cells.profile(float(rows), row),
            people=float(people),
            days=float(days),
            withheld=bool(withheld),
        )
        for start, end, rows, people, days, withheld, row in zip(
            *_about(counts), counts.table, strict=True
        )
    ]


def _about(counts: WindowCounts) -> Sequence[list[float]]:
    names = ("start", "end", "rows", "people", "days", "withheld")
    return [getattr(counts, name).tolist() for name in names]
