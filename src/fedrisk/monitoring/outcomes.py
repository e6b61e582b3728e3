"""What followed: events of matured rows beside the events that the model expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from fedrisk.detectors.score_bins import bin_logits, bin_risks
from fedrisk.models.logistic import expit
from fedrisk.profiles.profile import SCORE_BINS_PER_UNIT, Profile
from fedrisk.profiles.reference import Reference
from fedrisk.profiles.seasons import Season
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study.records import FloatArray

#: Precision of a site's and a season's own shift of the log-odds about zero: as if they differed
#: with a standard deviation of .14 before their events were seen, that is by 15 % either way.
SHRUNK_BY = 50.0
_STEPS = 8


@dataclass(frozen=True)
class Outcomes:
    """Matured rows of one site and window.

    Their scores are moved by how far the model was off at this site and in this season when it was
    fitted. A linear score of a curved risk is off in every winter: that is no news, and what is
    left over is.

    Attributes
    ----------
    site : str
    start, end : datetime
    season : Season
    labelled, events : (194,) array
        By score bin, after the move.
    profile : Profile
        All rows of the window, labelled or not, as they were scored.
    """

    site: str
    start: datetime
    end: datetime
    season: Season
    labelled: FloatArray
    events: FloatArray
    profile: Profile

    @property
    def observed(self) -> float:
        """Events."""
        return float(self.events.sum())

    @property
    def expected(self) -> float:
        """Events that the model expects, as it fitted this site and season in training."""
        return float(self.labelled @ bin_risks())

    @property
    def information(self) -> float:
        """Sum of p (1 - p): the variance of the events about their expectation."""
        return float(self.labelled @ (bin_risks() * (1.0 - bin_risks())))


def outcomes_of(reference: Reference, windows: Sequence[SiteWindow]) -> list[Outcomes]:
    """Outcomes of windows that have any label, in the same order.

    Parameters
    ----------
    reference : Reference
        With at least one block.
    windows : sequence of SiteWindow
    """
    shifts: dict[tuple[str, Season], float] = {}
    found = []
    for window in windows:
        if not window.profile.labelled.any():
            continue
        key = (window.site, window.season)
        if key not in shifts:
            shifts[key] = usual_shift(reference, *key)
        found.append(
            Outcomes(
                site=window.site,
                start=window.start,
                end=window.end,
                season=window.season,
                labelled=moved(window.profile.labelled, shifts[key]),
                events=moved(window.profile.events, shifts[key]),
                profile=window.profile,
            )
        )
    return found


def usual_shift(reference: Reference, site: str, season: Season) -> float:
    """Log-odds that the model was off at a site in a season when it was fitted.

    The shift of all training rows, of the season beyond it, of the site beyond both, and of the
    site in the season beyond all: each drawn to zero the more, the fewer events it rests on. A site
    that the reference lacks has none of its own.
    """
    shift = _shift(reference.overall(), 0.0)
    shift += _shift(reference.of(None, season), shift)
    if site in reference.sites:
        shift += _shift(reference.of(site), shift)
        shift += _shift(reference.of(site, season), shift)
    return shift


def _shift(profile: Profile, start: float) -> float:
    """Ridge estimate of a shift beyond ``start``: a normal prior of precision `SHRUNK_BY`."""
    shift, logits = 0.0, bin_logits() + start
    observed = float(profile.events.sum())
    for _ in range(_STEPS):
        risk = expit(logits + shift)
        gradient = observed - float(profile.labelled @ risk) - SHRUNK_BY * shift
        shift += gradient / (float(profile.labelled @ (risk * (1.0 - risk))) + SHRUNK_BY)
    return shift


def moved(counts: FloatArray, by: float) -> FloatArray:
    """Counts by score bin after all scores moved ``by`` log-odds, shared between two bins.

    >>> counts = np.zeros(194)
    >>> counts[100] = 8.0
    >>> moved(counts, 1 / 32)[100:102].tolist()
    [6.0, 2.0]
    """
    whole, part = divmod(by * SCORE_BINS_PER_UNIT, 1.0)
    places = np.arange(len(counts))
    near, far = (np.clip(places + int(whole) + step, 0, len(counts) - 1) for step in (0, 1))
    size = len(counts)
    halves = np.bincount(near, counts * (1 - part), size), np.bincount(far, counts * part, size)
    return np.asarray(halves[0] + halves[1], np.float64)
