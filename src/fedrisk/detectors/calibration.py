"""A window's distances, held against what the reference's blocks say of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np

from fedrisk.detectors.block_distances import BlockDistances, block_distances
from fedrisk.detectors.blocks import Blocks, Groups, span_of
from fedrisk.detectors.detector import Detector, require_same_study
from fedrisk.detectors.nulls import FLOOR, LEAST_BLOCKS, Null, Scale, fit_null, shared_scale
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study.records import BoolArray, FloatArray

Against = Literal["same season", "season before", "whole reference"]
#: A window shorter than this share of a block, or with rows on fewer of its days, tells nothing.
LEAST_SHARE = 0.6
#: Other sites whose blocks help to tell the spread.
OTHER_SITES = 11


@dataclass(frozen=True)
class Finding:
    """What one detector says of one subject in one window.

    Attributes
    ----------
    detector, subject, site : str
    distance : float or None
        From the blocks named by ``against``; None where rows are too few.
    typical : float or None
        The median distance where nothing changed.
    effect : float or None
        Distance beyond the typical one, as a multiple of the least that matters; 1 and more
        matters, negative is less than typical.
    p_value : float or None
        None where the reference has too few blocks to tell.
    against : str
        The same time of the year; the last season of a reference that does not hold it, where what
        is found may be the season; or all of it, without a p-value.
    blocks : float
        Blocks behind the p-value that do not overlap.
    reason : str
        Why there is no p-value; empty where there is one.
    """

    detector: str
    subject: str
    site: str
    distance: float | None
    typical: float | None
    effect: float | None
    p_value: float | None
    against: Against
    blocks: float
    reason: str = ""


class _Compared(NamedTuple):
    """Which blocks a window is compared with, from how long before, and why in vain."""

    against: Against
    chosen: BoolArray
    lag: float | None
    unlike: str


class Calibration:
    """Nulls of a reference, made when they are first asked for and kept.

    Parameters
    ----------
    reference : Reference
    seed : int
        Of the noise of windows that have other numbers of rows than the blocks.
    """

    def __init__(self, reference: Reference, seed: int = 0) -> None:
        self.reference = reference
        self._seed = seed
        self._blocks: dict[str | None, Blocks] = {}
        self._comparisons: dict[tuple[str | None, datetime, datetime, float], _Compared] = {}
        self._groups: dict[tuple[str | None, int, float | None], Groups] = {}
        self._distances: dict[tuple[str, str, str | None], BlockDistances] = {}
        self._between: dict[tuple[str, str, str | None, int, float | None], FloatArray] = {}
        self._scales: dict[
            tuple[str, str, tuple[str | None, ...], int, float | None], Scale | None
        ] = {}

    def finding(self, detector: Detector, window: SiteWindow, subject: str) -> Finding:
        """Distance, effect and p-value of one subject in one window.

        A window of a site that the reference does not know (`fedrisk.profiles.site_window.SERVING`)
        is compared with all sites together.

        Raises
        ------
        StudyError
            When the window is of another study, or the reference has no block.
        """
        site = window.site if window.site in self.reference.sites else None
        require_same_study(self.reference.of(site), window.profile)
        against, chosen, lag, unlike = self._compared(site, window)
        found = self._of(detector, subject, site).of(window.profile, chosen)
        reason = "the window has too few rows" if found is None else unlike
        null = None
        if not reason:
            if against != "whole reference":
                null = self._null(detector, subject, site, window, lag)
            reason = "" if null else f"the reference has fewer than {LEAST_BLOCKS} like blocks"
        return _finding(detector, subject, window.site, found, null, against, reason)

    def _compared(self, site: str | None, window: SiteWindow) -> _Compared:
        key = (site, window.start, window.end, window.days)
        if key not in self._comparisons:
            self._comparisons[key] = _compared(self._blocks_of(site), window)
        return self._comparisons[key]

    def _null(
        self,
        detector: Detector,
        subject: str,
        site: str | None,
        window: SiteWindow,
        lag: float | None,
    ) -> Null | None:
        """The null of the blocks around the window's time of the year, or of all, if few."""
        size = self._blocks_of(site).size_of(window)
        groups = self._groups_of(site, size, lag)
        floor = FLOOR * detector.matters
        found = self._of(detector, subject, site).as_thin_as(window.profile, groups, self._seed)
        if found is None:
            found = self._among(detector, subject, site, size, lag)
            shared = self._scale(detector, subject, site, size, lag)
        else:
            # Noise of fewer rows has a spread of its own, which other sites' blocks do not show.
            strata = groups.strata(lag is None)
            shared = shared_scale([_finite(found[part], size) for part in strata], floor)
        if lag is None:
            near = groups.around(span_of(window))
            local = fit_null(*_finite(found[near], size), floor, shared)
            if local is not None:
                return local
        return fit_null(*_finite(found, size), floor, shared)

    def _scale(
        self, detector: Detector, subject: str, site: str | None, size: int, lag: float | None
    ) -> Scale | None:
        neighbours = self._neighbours(site)
        key = (detector.name, subject, neighbours, size, lag)
        if key not in self._scales:
            strata = []
            for other in neighbours:
                groups = self._groups_of(other, size, lag)
                found = self._among(detector, subject, other, size, lag)
                strata += [_finite(found[part], size) for part in groups.strata(lag is None)]
            self._scales[key] = shared_scale(strata, FLOOR * detector.matters)
        return self._scales[key]

    def _neighbours(self, site: str | None) -> tuple[str | None, ...]:
        """A site and others whose blocks help to tell the spread; sorted, to be found again."""
        if site is None:
            return (None,)
        others = [other for other in self.reference.sites if other != site]
        return tuple(sorted([site, *others[:OTHER_SITES]]))

    def _among(
        self, detector: Detector, subject: str, site: str | None, size: int, lag: float | None
    ) -> FloatArray:
        key = (detector.name, subject, site, size, lag)
        if key not in self._between:
            groups = self._groups_of(site, size, lag)
            self._between[key] = self._of(detector, subject, site).between(groups)
        return self._between[key]

    def _of(self, detector: Detector, subject: str, site: str | None) -> BlockDistances:
        key = (detector.name, subject, site)
        if key not in self._distances:
            self._distances[key] = block_distances(detector, subject, self._blocks_of(site))
        return self._distances[key]

    def _groups_of(self, site: str | None, size: int, lag: float | None) -> Groups:
        key = (site, size, lag)
        if key not in self._groups:
            self._groups[key] = self._blocks_of(site).groups(size, lag)
        return self._groups[key]

    def _blocks_of(self, site: str | None) -> Blocks:
        if site not in self._blocks:
            self._blocks[site] = Blocks(self.reference, site)
        return self._blocks[site]


def _compared(blocks: Blocks, window: SiteWindow) -> _Compared:
    """What a window is compared with."""
    span, unlike = span_of(window), _unlike(blocks, window)
    season = blocks.season_around(span)
    if season is not None:
        return _Compared("same season", season, None, unlike)
    lag = blocks.lag_of(span)
    if lag is not None:
        before = blocks.season_before(span, lag)[0]
        if before.any():
            return _Compared("season before", before, lag, unlike)
    return _Compared("whole reference", np.ones(len(blocks), np.bool_), None, unlike)


def _unlike(blocks: Blocks, window: SiteWindow) -> str:
    """Why no number of blocks is like the window; empty where one is."""
    length = (window.end - window.start).total_seconds() / 86_400
    if length < LEAST_SHARE * blocks.length:
        return f"a window of {length:.1f} days is shorter than a block of {blocks.length:.0f}"
    usual = blocks.size_of(window) * float(np.median(blocks.days))
    if window.days < LEAST_SHARE * usual:
        return f"the window has rows on {window.days:.0f} days, the reference on {usual:.0f}"
    return ""


def _finite(distances: FloatArray, size: int) -> tuple[FloatArray, float]:
    """Distances that could be told, and how many of them do not overlap."""
    told = distances[np.isfinite(distances)]
    return told, len(told) / size


def _finding(
    detector: Detector,
    subject: str,
    site: str,
    found: tuple[float, float] | None,
    null: Null | None,
    against: Against,
    reason: str,
) -> Finding:
    distance, noise = found or (None, 0.0)
    if distance is None or null is None:
        return Finding(
            detector.name, subject, site, distance, None, None, None, against, 0.0, reason
        )
    typical = null.typical - noise
    return Finding(
        detector=detector.name,
        subject=subject,
        site=site,
        distance=distance,
        typical=typical,
        effect=(distance - typical) / detector.matters,
        p_value=null.p_value(distance + noise),
        against=against,
        blocks=null.blocks,
    )
