"""Which windows can be judged, and why the others cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from fedrisk.detectors.calibration import LEAST_SHARE
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study import Study


@dataclass(frozen=True)
class Judgeable:
    """Windows sorted by whether they can be judged.

    Attributes
    ----------
    windows : tuple of SiteWindow
        Oldest first; by time, then by site.
    refused : dict of str to tuple of str
        By site, why windows of it cannot be judged.
    vanished : tuple of str
        Sites of the reference that have no window that can be judged and is recent.
    unknown : tuple of str
        Sites that the reference does not know: they are compared with all of its sites.
    """

    windows: tuple[SiteWindow, ...]
    refused: dict[str, tuple[str, ...]]
    vanished: tuple[str, ...]
    unknown: tuple[str, ...]


def judgeable(
    study: Study,
    reference: Reference,
    windows: Sequence[SiteWindow],
    rules: VerdictRules,
    now: datetime,
) -> Judgeable:
    """Sort out windows that are of another study, from the future, too small, or that overlap.

    Parameters
    ----------
    study : Study
    reference : Reference
    windows : sequence of SiteWindow
        In any order.
    rules : VerdictRules
    now : datetime
    """
    kept: list[SiteWindow] = []
    refused: dict[str, list[str]] = defaultdict(list)
    reached: dict[str, datetime] = {}
    study_hash, usual = study.hash, _usual_days(reference)
    for window in sorted(windows, key=lambda each: (each.end, each.site, each.start)):
        reason = _why_not(study_hash, window, reached.get(window.site), rules, now)
        reason = reason or _too_short(window, usual.get(window.site))
        if reason:
            refused[window.site].append(f"{span(window)}: {reason}")
        else:
            kept.append(window)
            reached[window.site] = window.end
    oldest = now - timedelta(days=rules.oldest_window)
    recent = {window.site for window in kept if window.end >= oldest}
    known = set(reference.sites)
    # Requests to serving are no site's: where nothing else is judged, no site has vanished.
    expected = known if {window.site for window in windows} & known else set()
    return Judgeable(
        windows=tuple(kept),
        refused={site: tuple(reasons) for site, reasons in refused.items()},
        vanished=tuple(sorted(expected - recent)),
        unknown=tuple(sorted({window.site for window in kept} - known)),
    )


def span(window: SiteWindow) -> str:
    """First and last day of a window, as people read it."""
    return f"{window.start:%Y-%m-%d} to {window.end:%Y-%m-%d}"


def _why_not(
    study_hash: str,
    window: SiteWindow,
    reached: datetime | None,
    rules: VerdictRules,
    now: datetime,
) -> str:
    """Why a window cannot be judged; empty where it can."""
    profile = window.profile
    if profile.study != study_hash:
        return f"counted by study {profile.study[:12]}, while the champion's is {study_hash[:12]}"
    if window.start >= window.end:
        return "ends before it begins"
    if window.withheld:
        return "is withheld by the site's policy: too few people"
    if window.end > now + timedelta(hours=rules.future_tolerance):
        return "ends in the future"
    if reached is not None and window.start < reached:
        return "overlaps another window of the site"
    if profile.rows == 0:
        return "is empty"
    if profile.rows < rules.least_rows:
        return f"has {profile.rows:,.0f} rows, fewer than {rules.least_rows:,.0f}"
    return ""


def _usual_days(reference: Reference) -> dict[str, tuple[float, float]]:
    """By site, a block's length in days, and the share of them on which there are rows."""
    by_site: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for block in reference.blocks:
        length = (block.end - block.start) / timedelta(days=1)
        by_site[block.site].append((length, block.days / length))
    return {
        site: (median(length for length, _ in seen), median(share for _, share in seen))
        for site, seen in by_site.items()
    }


def _too_short(window: SiteWindow, usual: tuple[float, float] | None) -> str:
    """Why no block of its site is like a window; empty where one is, or the site is unknown."""
    if usual is None:
        return ""
    length, share = (window.end - window.start) / timedelta(days=1), usual[1]
    if length < LEAST_SHARE * usual[0]:
        return f"is of {length:.1f} days, shorter than the reference's blocks of {usual[0]:.0f}"
    if window.days < LEAST_SHARE * share * length:
        return f"has rows on {window.days:.0f} days, where {share * length:.0f} are usual"
    return ""
