"""The training period in disjoint blocks: what a window is compared with, and how much blocks
differ from one another while nothing is wrong.

A block is one site's rows of one week (of a study without times, of the whole period), so any
choice of site and season is a sum of blocks, and leaving one out is a subtraction.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np

from fedrisk.errors import StudyError
from fedrisk.profiles.cells import Cells
from fedrisk.profiles.profile import Profile
from fedrisk.profiles.seasons import Season
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study import Study
from fedrisk.study.records import FloatArray

#: Most bytes that the counts of a reference take when unpacked: 1,000 sites of 52 weeks.
LARGEST = 2**31
_ABOUT = ("rows", "people", "days")


def merge(profiles: Iterable[Profile]) -> Profile:
    """The profile of all rows of some profiles.

    Raises
    ------
    StudyError
        When there is none, or they are of different studies.
    """
    rest = iter(profiles)
    total = next(rest, None)
    if total is None:
        raise StudyError("there is no profile to merge", hint="ask a site for at least one window")
    for profile in rest:
        total = total + profile
    return total


@dataclass(frozen=True)
class Reference:
    """Blocks of the rows that a model was trained on.

    Attributes
    ----------
    study : str
        Hash of the study.
    blocks : tuple of SiteWindow
        Disjoint; none of them is withheld.
    """

    study: str
    blocks: tuple[SiteWindow, ...]

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites that have a block, in order."""
        return tuple(sorted({block.site for block in self.blocks}))

    def blocks_of(
        self, site: str | None = None, season: Season | None = None
    ) -> tuple[SiteWindow, ...]:
        """Blocks of a site, or of all, in a season, or in all; by site and time."""
        return tuple(
            block
            for block in self._ordered
            if site in (None, block.site) and season in (None, block.season)
        )

    def overall(self) -> Profile:
        """The profile of all blocks.

        Raises
        ------
        StudyError
            When there is no block.
        """
        return self.of()

    def of(
        self,
        site: str | None = None,
        season: Season | None = None,
        without: SiteWindow | None = None,
    ) -> Profile:
        """The profile of the blocks of a site and season, less one of the reference's own blocks.

        No rows, where no block is of that site and season. A block that is not among the chosen
        ones is not taken out.

        Raises
        ------
        StudyError
            When the reference has no block at all.
        """
        chosen = self._totals.get((site, season))
        if chosen is None:
            chosen = self._total(site, season)
            self._totals[site, season] = chosen
        among = without is not None and any(
            without is block for block in self.blocks_of(site, season)
        )
        return chosen - without.profile if among and without is not None else chosen

    @cached_property
    def _ordered(self) -> tuple[SiteWindow, ...]:
        return tuple(sorted(self.blocks, key=lambda block: (block.site, block.start)))

    @cached_property
    def _totals(self) -> dict[tuple[str | None, Season | None], Profile]:
        """Profiles that were added up before."""
        return {}

    def _total(self, site: str | None, season: Season | None) -> Profile:
        if not self.blocks:
            raise StudyError(
                "the reference has no block: no site had a week of enough people",
                hint="train on more rows, or allow smaller groups in the sites' policies",
            )
        chosen = [block.profile for block in self.blocks_of(site, season)]
        some = self.blocks[0].profile
        return merge(chosen) if chosen else some - some

    def document(self) -> dict[str, Any]:
        """The reference as compact JSON values: the counts are one packed table."""
        blocks = self._ordered
        layout = _layout(blocks[0].profile) if blocks else Cells(self.study, {}, {}, ())
        table = np.array([layout.row(block.profile) for block in blocks], "<f8")
        return {
            "study": self.study,
            "numbers": dict(layout.numbers),
            "categories": dict(layout.categories),
            "features": list(layout.features),
            "blocks": [_about(block) for block in blocks],
            "cells": base64.b64encode(zlib.compress(table.tobytes())).decode("ascii"),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Reference:
        """Rebuild from `document`.

        Raises
        ------
        StudyError
            When it is no such document.
        """
        try:
            layout = Cells(
                str(document["study"]),
                {str(name): int(bins) for name, bins in document["numbers"].items()},
                {str(name): int(levels) for name, levels in document["categories"].items()},
                tuple(map(str, document["features"])),
            )
            table = _unpack(document["cells"], len(document["blocks"]), sum(layout.lengths))
            pairs = zip(document["blocks"], table, strict=True)
            return cls(layout.study, tuple(_block(about, layout, row) for about, row in pairs))
        except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
            raise StudyError(f"not a reference: {error!r}") from None


def read_reference(document: Mapping[str, Any], study: Study) -> Reference:
    """The blocks of a model's ``reference.json``.

    Raises
    ------
    StudyError
        When the model was stored without blocks, or they are of another version of the study.
    """
    if "blocks" not in document:
        raise StudyError(
            "the champion's reference.json has no blocks: it was trained by an earlier fedrisk",
            hint="train it anew; then its training rows are known by site and week",
        )
    reference = Reference.from_document(document["blocks"])
    if reference.study != study.hash:
        raise StudyError(
            f"the reference is of study {reference.study[:12]}, not of {study.hash[:12]}",
            hint="a window is compared with a model of the same version of the study",
        )
    if reference.blocks and not _same_bins(_layout(reference.blocks[0].profile), Cells.of(study)):
        raise StudyError(
            "the reference has other bins than the study",
            hint="train anew with this version of fedrisk",
        )
    return reference


def _layout(profile: Profile) -> Cells:
    return Cells(
        profile.study,
        {name: len(counts) for name, counts in profile.numbers.items()},
        {name: len(counts) for name, counts in profile.categories.items()},
        tuple(profile.missing),
    )


def _same_bins(one: Cells, other: Cells) -> bool:
    """Whether counts of one are counts of the other, whatever the features' order."""
    same = one.numbers == other.numbers and one.categories == other.categories
    return same and set(one.features) == set(other.features)


def _about(block: SiteWindow) -> dict[str, Any]:
    return {
        "site": block.site,
        "start": block.start.isoformat(),
        "end": block.end.isoformat(),
        "rows": block.profile.rows,
        "people": block.people,
        "days": block.days,
    }


def _block(about: Mapping[str, Any], layout: Cells, row: FloatArray) -> SiteWindow:
    rows, people, days = (float(about[name]) for name in _ABOUT)
    start, end = (datetime.fromisoformat(about[name]) for name in ("start", "end"))
    return SiteWindow(str(about["site"]), start, end, layout.profile(rows, row), people, days)


def _unpack(text: str, blocks: int, cells: int) -> FloatArray:
    """The table of counts, ``(blocks, cells)``."""
    size = 8 * blocks * cells
    if size > LARGEST:
        raise ValueError(f"{size} bytes of counts")
    try:
        packed = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    unpacking = zlib.decompressobj()
    plain = unpacking.decompress(packed, size + 1)
    if not unpacking.eof or len(plain) != size:
        raise ValueError("the counts are not as many as the blocks say")
    return np.frombuffer(plain, "<f8").reshape(blocks, cells).astype(np.float64)
