"""A verdict by site."""

from __future__ import annotations

from dataclasses import dataclass

from fedrisk.detectors.performance_measured import MeasuredPerformance
from fedrisk.monitoring.diagnosis import Signs, Status, status_of
from fedrisk.monitoring.harm import Harm, Measured
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.monitoring.validity import Judgeable


@dataclass(frozen=True)
class SiteVerdict:
    """One site's part.

    Attributes
    ----------
    status : Status
    windows : int
        How many were judged.
    rows, labelled, events : float
    drifted : tuple of str
        Features that drifted there.
    reasons : tuple of str
        Data faults, and why windows were not judged.
    performance : MeasuredPerformance or None
        Of the mature labels there; None without one.
    """

    status: Status
    windows: int
    rows: float
    labelled: float
    events: float
    drifted: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    performance: MeasuredPerformance | None = None


def site_verdicts(
    signs: Signs, sorted_out: Judgeable, rules: VerdictRules
) -> dict[str, SiteVerdict]:
    """Each site's part, of those that sent a window or should have."""
    found = {}
    for site in sorted({*signs.recent, *sorted_out.refused, *sorted_out.vanished}):
        windows = [window for window in sorted_out.windows if window.site == site]
        own = Signs(
            recent={site: signs.recent[site]} if site in signs.recent else {},
            drifted=signs.drifted,
            importance=signs.importance,
            label_faults={site: signs.label_faults.get(site, ())},
            measured=_measured_at(signs.measured, site),
            vanished=(site,) if site in signs.vanished else (),
        )
        found[site] = SiteVerdict(
            status=status_of(own, rules),
            windows=len(windows),
            rows=sum(window.profile.rows for window in windows),
            labelled=float(sum(window.profile.labelled.sum() for window in windows)),
            events=float(sum(window.profile.events.sum() for window in windows)),
            drifted=signs.drifted.get(site, ()),
            reasons=(
                *(fault.sentence for fault in own.faults(site)),
                *sorted_out.refused.get(site, ()),
            ),
            performance=signs.performance.get(site),
        )
    return found


def _measured_at(overall: Measured, site: str) -> Measured:
    """Harm counts for a site where it is confined to that one."""
    if overall.harm.kind != "measured" or site in overall.sites:
        return overall
    return Measured(Harm("none"))
